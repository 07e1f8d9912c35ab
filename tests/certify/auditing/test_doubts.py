"""What was doubtful when a file was made is in its verdict, whichever command made it."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command_line import robcert
from linear_models import linear_classifier
from onnx_models import model, node, saved
from places import FIXTURES
from summaries import findings

from robcert.certify.auditing.clean import CleanSummary
from robcert.certify.auditing.doubts import (
    UNTESTED,
    doubts_of,
    input_doubts,
    input_doubts_until,
)
from robcert.certify.auditing.verdict import verdict
from robcert.certify.data import from_arrays

if TYPE_CHECKING:
    from pathlib import Path

HONEST = FIXTURES / "fashion-honest.onnx"
QUICK = ("--limit", 2, "--profile", "quick", "-q")


def said(path: Path) -> tuple[str, str]:
    """Headline and first sentence of the verdict that `show` prints."""
    shown = json.loads(robcert("show", path, "--json").stdout)["verdict"]
    assert shown["tone"] == "warn"
    return shown["headline"], shown["sentences"][0]


@pytest.mark.parametrize("command", [("attack", "--attack", "fgsm"), ("audit", "--only", "attack")])
def test_a_wrong_normalisation_is_the_first_thing_that_is_said(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "r.h5"
    wrong = ("-m", HONEST, "-d", "fashion-mnist-2000", "--mean", "0", "--std", "1", "--out", path)
    ended = robcert(*command, *wrong, *QUICK)
    assert ended.status == 0
    headline, sentence = said(path)
    assert headline.startswith("Robustness not established at ε = 8/255")
    assert sentence.startswith("Doubtful: the present preprocessing classifies 100 of 200 images")
    assert "Fashion-MNIST mean and std would classify" in sentence
    assert sentence.endswith("if so, pass: --mean 0.286 --std 0.353.")
    assert sentence.removeprefix("Doubtful: ").removesuffix(".") in ended.stderr
    if command[0] == "audit":
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert '<div class="verdict warn"><strong>Robustness not established' in page
        assert "Doubtful: the present preprocessing" in page


@pytest.mark.parametrize(
    "options", [("--range", "0,255"), ("--mean", "73", "--std", "90")], ids=["range", "mean"]
)
def test_a_range_and_a_mean_that_contradict_each_other_are_in_the_verdict(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "r.h5"
    run = ("attack", "-m", HONEST, "-d", "fashion-mnist-2000", "--attack", "fgsm", "--out", path)
    ended = robcert(*run, *options, "--allow-low-accuracy", *QUICK)
    assert ended.status == 0, ended.stderr
    assert "contradicts the range" in ended.stderr
    headline, sentence = said(path)
    assert headline.startswith("Robustness not established")
    assert "contradicts the range" in sentence


def divided_by_255() -> Any:
    """Ten classes by the mean of pixels from 0 to 255, which the graph divides by 255."""
    centres = (np.arange(10, dtype=np.float32) + 0.5) / 10
    return model(
        [
            node("Div", "x most", "small"),
            node("ReduceMean", "small", "mean", axes=[1, 2, 3], keepdims=0),
            node("Unsqueeze", "mean axis", "column"),
            node("Sub", "column centres", "gap"),
            node("Abs", "gap", "far"),
            node("Neg", "far", "out"),
        ],
        inputs={"x": ("batch", 1, 8, 8)},
        outputs={"out": None},
        weights={
            "most": np.array(255, np.float32),
            "axis": np.array([1], np.int64),
            "centres": centres[None],
        },
    )


def test_a_constant_prediction_is_told_although_there_are_no_labels(tmp_path: Path) -> None:
    path, data = tmp_path / "r.h5", tmp_path / "bare.npz"
    greys = np.random.default_rng(0).random((40, 1, 1, 1), np.float32)
    np.savez(data, images=np.broadcast_to(greys, (40, 8, 8, 1)))
    made = saved(tmp_path, divided_by_255())
    ended = robcert("attack", "-m", made, "-d", data, "--attack", "fgsm", "--out", path, *QUICK)
    assert ended.status == 0, ended.stderr
    headline, sentence = said(path)
    assert headline.startswith("Stability not established at")
    assert "all 40 images tried get class 0" in sentence
    assert sentence.endswith("if so, pass: --range 0,255.")
    again = robcert(
        *("attack", "-m", made, "-d", data, "--attack", "fgsm", "--range", "0,255"),
        *("--out", tmp_path / "right.h5", *QUICK),
    )
    assert "get class" not in again.stderr


def test_doubts_that_the_time_budget_leaves_no_time_for_are_a_doubt() -> None:
    classifier = linear_classifier()
    digits = np.random.default_rng(0).integers(0, 17, (40, 4, 5), np.uint8)
    images = from_arrays("digits", digits)
    whole = input_doubts(classifier, images, None)
    assert input_doubts_until(time.monotonic() + 600, classifier, images, None) == whole
    ended = input_doubts_until(time.monotonic() - 1, classifier, images, None)
    assert ended == (*images.doubts, UNTESTED)


def test_dark_images_are_a_doubt() -> None:
    digits = np.random.default_rng(0).integers(0, 17, (40, 4, 5), np.uint8)
    images = from_arrays("digits", digits)
    assert len(images.doubts) == 1
    assert input_doubts(linear_classifier(), images, None)[0] == images.doubts[0]
    (line,) = from_arrays("digits", digits / 255).doubts
    assert line.endswith("white may be another number in them, or they were scaled twice")


def test_images_without_a_class_are_a_doubt() -> None:
    class Counted(CleanSummary):
        def to_json(self) -> dict[str, object]:
            return {"undefined": 3}

    clean = Counted(None, 0.5, 0.5, images=10)
    store: Any = SimpleNamespace(model={})
    (line,) = doubts_of(store, {}, clean)
    assert line == "Doubtful: the model's scores are NaN on 3 of 10 images."
    assert doubts_of(store, {"doubts": ["Why"]}, None) == ("Doubtful: Why.",)


def test_straight_through_gradients_are_told() -> None:
    assert "straight-through where the model rounds" in " ".join(
        verdict(findings(quantised=True)).sentences
    )
