"""One image that the model fails on: the others have their rows, and it is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from command_line import robcert
from onnx_models import model, node, saved

from robcert.certify.failures import in_parts
from robcert.certify.model.classifier import Classifier, ModelInfo, Runtime
from robcert.certify.smoothing.procedures import sequential_prediction
from robcert.certify.smoothing.rules import PredictionRule
from robcert.certify.smoothing.sampler import ImageTask, Sampler
from robcert.certify.smoothing.sequential import Schedule

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

SIZE = 16
COUNT, BAD = 12, 5


def fails_at_grey(folder: Path) -> Path:
    """A linear model that looks past the end of a table where the first pixel is 0.6."""
    draws = np.random.default_rng(0)
    weights: dict[str, NDArray[Any]] = {
        "weight": draws.normal(size=(SIZE, 4)).astype(np.float32),
        "select": np.eye(SIZE, 1, dtype=np.float32),
        "grey": np.array(0.6, np.float32),
        "near": np.array(1e-5, np.float32),
        "far": np.array(1000, np.int64),
        "table": np.zeros(1, np.float32),
    }
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat weight", "scores"),
        node("MatMul", "flat select", "first"),
        node("Sub", "first grey", "apart"),
        node("Abs", "apart", "distance"),
        node("Less", "distance near", "hit"),
        node("Cast", "hit", "number", to=7),
        node("Mul", "number far", "place"),
        node("Gather", "table place", "nothing"),
        node("Add", "scores nothing", "logits"),
    ]
    shape = {"image": ("n", 1, 4, 4)}
    made = model(nodes, inputs=shape, outputs={"logits": ("n", 4)}, weights=weights)
    return saved(folder, made)


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fails_at_grey(tmp_path)
    pixels = np.random.default_rng(1).uniform(0.3, 0.5, (COUNT, 1, 4, 4)).astype(np.float32)
    weight = np.random.default_rng(0).normal(size=(SIZE, 4)).astype(np.float32)
    np.savez("whole.npz", images=pixels, labels=(pixels.reshape(COUNT, -1) @ weight).argmax(1))
    with np.load("whole.npz") as whole:
        pixels, labels = whole["images"], whole["labels"]
    pixels[BAD, 0, 0, 0] = 0.6
    np.savez("images.npz", images=pixels, labels=labels)
    np.savez("unlabelled.npz", images=pixels)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("data", ["images.npz", "unlabelled.npz"])
@pytest.mark.parametrize("workers", [(), ("--workers", "2", "--batch-size", "2")])
def test_a_failing_image_is_left_out_and_named(
    data: str, workers: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    if workers:
        request.getfixturevalue("forks")
    ended = robcert(
        *("attack", "-m", "model.onnx", "-d", data, "--norm", "l2", "--json", *workers),
        *("--attack", "deepfool", "--attack", "noise", "--profile", "quick", "--out", "r.h5"),
    )
    assert ended.status == 0, ended
    outcome = json.loads(ended.stdout)
    assert outcome["summary"]["n"] == COUNT - 1
    assert outcome["summary"]["complete"]
    (warning,) = [line for line in outcome["warnings"] if "failed on" in line]
    assert f"the model failed on 1 of {COUNT} images" in warning
    assert f"the first is image {BAD}: the runtime fails" in warning
    assert robcert("show", "r.h5").status == 0


@pytest.mark.usefixtures("_files")
def test_rows_of_the_others_are_those_of_a_run_without_it() -> None:
    common = ("attack", "-m", "model.onnx", "--norm", "l2", "--attack", "fgsm", "--json", "-q")
    others = ("--indices", "0-4,6-11", "--out", "others.h5")
    with_it = robcert(*common, "-d", "images.npz", "--out", "all.h5")
    without = robcert(*common, "-d", "images.npz", *others)
    assert (with_it.status, without.status) == (0, 0)
    tables = [robcert("show", name, "--format", "csv").stdout for name in ("all.h5", "others.h5")]
    rows = [
        [line for line in text.splitlines() if not line.startswith(f"{BAD},")] for text in tables
    ]
    assert rows[0] == rows[1]


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_a_model_that_fails_on_all_that_is_asked_is_an_error(
    workers: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    if workers:
        request.getfixturevalue("forks")
    ended = robcert(
        *("attack", "-m", "model.onnx", "-d", "images.npz", "--indices", str(BAD), *workers),
        *("--attack", "fgsm", "-q", "--out", "r.h5"),
    )
    assert ended.status == 2
    assert "error: the runtime fails on a batch of 1" in ended.stderr


def test_halves_are_tried_until_the_images_at_fault_are_alone() -> None:
    asked: list[int] = []

    def total(indices: np.ndarray) -> int:
        asked.append(len(indices))
        if set(indices.tolist()) & {3, 4}:
            message = "no"
            raise RuntimeError(message)
        return int(indices.sum())

    failed: dict[int, Exception] = {}
    found = list(in_parts(total, np.arange(16), failed))
    assert sum(value for _, value in found) == sum(range(16)) - 7
    assert np.concatenate([part for part, _ in found]).tolist() == [0, 1, 2, *range(5, 16)]
    assert sorted(failed) == [3, 4]
    assert len(asked) == 13  # 16, 8 twice, 4 twice, then 2 twice and 1 twice around each


def fails_on(calls: set[int]) -> Classifier:
    """Two classes by the first pixel; raises where the last pixel names one of ``calls``."""

    def logits(x: Tensor) -> Tensor:
        if any(bool((x[:, 0, 0, -1] - image).abs().lt(0.3).any()) for image in calls):
            message = "out of range"
            raise RuntimeError(message)
        return torch.stack([x[:, 0, 0, 0], -x[:, 0, 0, 0]], 1)

    return Classifier(
        info=ModelInfo(file="test", sha256="", kind="module"),
        runtime=Runtime(logits),
        num_classes=2,
        image_shape=(1, 1, 2),
    )


def counts_of(
    classifier: Classifier, images: list[int], workers: int
) -> tuple[dict[int, Any], set[int]]:
    sampler = Sampler(classifier, sigma=0.02, seed=0, batch_size=128, workers=workers)
    rule = PredictionRule(Schedule((256, 512), (0.5, 0.5)))
    tasks = [
        ImageTask(i, torch.tensor([[[0.01, float(i)]]]), sequential_prediction(rule))
        for i in images
    ]
    found = {
        int(index): outcome.path[-1].tolist()
        for finished in sampler.run(tasks)
        for index, outcome in zip(finished.indices, finished.outcomes, strict=True)
    }
    return found, set(sampler.failed)


@pytest.mark.parametrize("workers", [1, 3])
def test_counts_of_the_others_are_those_of_a_run_without_the_failing_image(workers: int) -> None:
    with_them, failed = counts_of(fails_on({2, 5}), list(range(6)), workers)
    without, nothing = counts_of(fails_on(set()), [0, 1, 3, 4], workers)
    assert with_them == without
    assert (failed, nothing) == ({2, 5}, set())


@pytest.mark.usefixtures("_files")
def test_smoothing_leaves_out_what_the_model_fails_on() -> None:
    ended = robcert(
        *("smoothing", "certify", "-m", "model.onnx", "-d", "images.npz", "--sigma", "0.1"),
        *("--n", "500", "--n0", "64", "--json", "--out", "r.h5"),
    )
    assert ended.status == 0, ended
    outcome = json.loads(ended.stdout)
    assert outcome["summary"]["n"] == COUNT - 1
    assert outcome["summary"]["complete"]
    (warning,) = [line for line in outcome["warnings"] if "failed on" in line]
    assert f"the model failed on 1 of {COUNT} images" in warning
    assert f"the first is image {BAD}: the runtime fails" in warning


@pytest.mark.slow
@pytest.mark.usefixtures("_files")
def test_bounds_leave_out_what_the_model_fails_on_in_the_sample_as_well() -> None:
    common = ("bounds", "-m", "model.onnx", "-d", "images.npz", "--blocks", "3", "--json")
    ended = robcert(*common, "--block-size", "4", "--out", "r.h5")
    assert ended.status == 0, ended
    outcome = json.loads(ended.stdout)
    summary = outcome["summary"]
    assert (summary["n"], summary["complete"]) == (COUNT - 1, True)
    assert (summary["lipschitz"]["blocks"], summary["lipschitz"]["block_size"]) == (2, 4)
    sampled, reported = [line for line in outcome["warnings"] if "failed on" in line]
    assert "the model failed on 1 sampled images" in sampled
    assert f"the first is image {BAD}: " in sampled
    assert f"the model failed on 1 of {COUNT} images" in reported
    again = json.loads(robcert(*common, "--block-size", "4", "--refit", "--out", "r.h5").stdout)
    assert again["summary"] == summary
    assert again["warnings"] == outcome["warnings"]
