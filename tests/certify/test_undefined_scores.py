"""Models whose scores are NaN on some images, on noise, or always: NaN names no class."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from command_line import robcert
from onnx_models import model, node, saved, weights

from robcert.certify.importer.runtime.batching import relative_spread_error
from robcert.certify.smoothing.rules import RunnerUpRule
from robcert.certify.smoothing.sequential import Schedule

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

COUNT, BRIGHT = 24, 0.6
"""Images, and the mean of the first pixel from which the scores are NaN."""


def linear_plus(tail: list[onnx.NodeProto], **constants: NDArray[Any]) -> onnx.ModelProto:
    """Linear scores of 16 pixels in 4 classes; ``tail`` makes ``out`` of ``flat`` and ``z``."""
    return model(
        [node("Flatten", "x", "flat"), node("MatMul", "flat w", "z"), *tail],
        inputs={"x": ("n", 1, 4, 4)},
        outputs={"out": None},
        weights={"w": weights(4, 16), **constants},
    )


def nan_where_bright() -> onnx.ModelProto:
    """Adds 0 · log(0.6 - first pixel): 0 or NaN."""
    tail = [
        node("MatMul", "flat first", "pixel"),
        node("Sub", "limit pixel", "left"),
        node("Log", "left", "log"),
        node("Mul", "log zero", "nothing"),
        node("Add", "z nothing", "out"),
    ]
    return linear_plus(
        tail,
        first=np.eye(16, 1, dtype=np.float32),
        limit=np.array(BRIGHT, np.float32),
        zero=np.array(0, np.float32),
    )


def nan_below_black() -> onnx.ModelProto:
    """A power in front of the linear layer: NaN where a pixel is below 0."""
    return model(
        [
            node("Pow", "x power", "bent"),
            node("Flatten", "bent", "flat"),
            node("MatMul", "flat w", "out"),
        ],
        inputs={"x": ("n", 1, 4, 4)},
        outputs={"out": None},
        weights={"w": weights(4, 16), "power": np.array(0.9, np.float32)},
    )


@pytest.fixture
def _images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images in `images.npz` with the labels of the linear scores; class 0 is among them.

    The first pixel of every fourth image is bright; `bare.npz` has no labels.
    """
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(3).uniform(0.2, 0.5, (COUNT, 1, 4, 4)).astype(np.float32)
    labels = (x.reshape(COUNT, 16) @ weights(4, 16)).argmax(1)
    labels[::8] = 0
    x[::4, 0, 0, 0] = 0.9
    np.savez("images.npz", images=x, labels=labels)
    np.savez("bare.npz", images=x)


def outcome(*words: str) -> dict[str, Any]:
    ended = robcert(*words, "--json")
    assert ended.status == 0, ended
    return dict(json.loads(ended.stdout))


@pytest.mark.usefixtures("_images")
def test_images_without_a_class_are_wrong_and_counted_aloud() -> None:
    saved(Path(), nan_where_bright())
    found = outcome("inspect", "-m", "model.onnx", "-d", "images.npz")
    summary = found["summary"]
    assert summary["clean_accuracy"]["value"] == pytest.approx(0.75)
    assert 0 < summary["parity"]["max_relative_logit_error"] < 1e-3  # finite entries differ
    told = "the model's scores are NaN on 6 of 24 images: they have no class and count as wrong"
    assert told in found["warnings"]
    attack = ("attack", "-m", "model.onnx", "-d", "images.npz", "--attack", "fgsm")
    found = outcome(*attack, "--eps", "1/255")
    assert found["summary"]["clean_accuracy"]["value"] == pytest.approx(0.75)
    assert told in found["warnings"]


@pytest.mark.usefixtures("_images")
def test_without_labels_they_are_left_out() -> None:
    saved(Path(), nan_where_bright())
    found = outcome("attack", "-m", "model.onnx", "-d", "bare.npz", "--attack", "fgsm")
    assert found["summary"]["n"] == COUNT - 6
    assert any("failed on 6 of 24 images" in line for line in found["warnings"])


@pytest.mark.usefixtures("_images")
@pytest.mark.parametrize("command", [("inspect",), ("attack", "--allow-low-accuracy")])
@pytest.mark.parametrize("data", ["images.npz", "bare.npz"])
def test_a_model_without_any_class_is_refused(command: tuple[str, ...], data: str) -> None:
    made = linear_plus([node("Mul", "z nothing", "out")], nothing=np.array(math.nan, np.float32))
    saved(Path(), made)
    ended = robcert(*command, "-m", "model.onnx", "-d", data)
    assert ended.status == 2
    assert "gives NaN scores for each of 24 images" in ended.stderr


@pytest.mark.usefixtures("_images")
@pytest.mark.parametrize("design", ["sequential", "cohen-runner-up"])
def test_a_nan_draw_votes_for_no_class_and_the_cause_is_told(design: str) -> None:
    saved(Path(), nan_below_black())
    found = outcome(
        *("smoothing", "certify", "-m", "model.onnx", "-d", "bare.npz", "--sigma", "1.0"),
        *("--n", "200", "--radii", "0.25", "--design", design, "--limit", "4"),
    )
    summary = found["summary"]
    assert summary["abstained"] == 1.0
    assert summary["certified_accuracy"][0]["value"] == 0.0
    (told,) = [line for line in found["warnings"] if "votes for no class" in line]
    assert "on 4 of 4 images" in told
    assert "pixel values below 0 or above 1" in told
    assert "none of them is NaN once the pixels are clipped" in told


def test_limits_count_all_draws_not_only_those_that_voted() -> None:
    # 60 of 100 draws show class 0, the others none: p is about 0.6, not 1.
    rule = RunnerUpRule(Schedule((100,), (0.001,)))
    verdict = rule.judge(np.array([[60, 0, 0]]), 0)
    assert verdict.p_lower < 0.6
    assert RunnerUpRule(Schedule((60,), (0.001,))).judge(np.array([[60, 0, 0]]), 0).p_lower > 0.8


def test_finite_scores_are_compared_and_infinite_ones_must_be_equal() -> None:
    reference = torch.tensor([[0.0, 2.0, -math.inf], [0.0, 2.0, math.nan], [0.0, 2.0, 1.0]])
    assert relative_spread_error(reference, reference).tolist() == [0.0, 0.0, 0.0]
    moved = reference + torch.tensor([0.5, 0.0, 0.0])
    assert relative_spread_error(moved, reference).tolist() == [0.25, 0.25, 0.25]
    for value in (math.inf, math.nan, 0.0):
        other = reference.clone()
        other[0, 2] = value
        assert relative_spread_error(other, reference)[0] == math.inf
