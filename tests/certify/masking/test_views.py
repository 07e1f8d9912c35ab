"""Which gradient the masking check looks at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx_models import model, node, saved
from torch import Tensor, nn

from robcert.certify.core import Batch
from robcert.certify.data.arrays import from_arrays
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.masking.analysis import analyse
from robcert.certify.masking.attacks import AttackPlan
from robcert.certify.masking.evidence import evidence
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.summary import summarise
from robcert.certify.masking.tables import where_hidden
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.masking.views import as_checked
from robcert.certify.model.classifier import (
    Classifier,
    ModelInfo,
    StraightThroughNode,
    Twin,
    rounds_by_itself,
)
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data.image_set import ImageSet

QUICK = MaskingSettings(
    epsilon=0.15, steps=10, restarts=1, unbounded_steps=20, noise_draws=20, queries=200
)


def test_only_nodes_outside_number_formats_round_by_themselves() -> None:
    assert not rounds_by_itself(())
    quantised = StraightThroughNode("a", "QuantizeLinear", number_format=True)
    steps = StraightThroughNode("steps", "Round", number_format=False)
    assert not rounds_by_itself((quantised, replace(quantised, operator="QLinearConv")))
    assert rounds_by_itself((quantised, steps))


def test_a_shattered_gradient_is_doubted_and_found_out(tmp_path: Path) -> None:
    # the margin sum(x) - 8 and a ripple of a tenth, whose slope is 300 times as steep
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat weight", "sums"),
            node("Add", "sums bias", "smooth"),
            node("Mul", "sums fast", "phase"),
            node("Sin", "phase", "wave"),
            node("Mul", "wave height", "ripple"),
            node("Add", "smooth ripple", "y"),
        ],
        inputs={"x": ["b", 1, 4, 4]},
        outputs={"y": ["b", 2]},
        weights={
            "weight": np.stack([np.zeros(16), np.ones(16)], 1).astype(np.float32),
            "bias": np.array([0, -8], dtype=np.float32),
            "fast": np.array(3000, dtype=np.float32),
            "height": np.array(0.1, dtype=np.float32),
        },
    )
    noise = np.random.default_rng(0).random((60, 1, 4, 4), dtype=np.float32)
    images = from_arrays("test", 0.55 + 0.1 * noise, np.ones(60, np.int64))
    classifier = load_classifier(saved(tmp_path, made), LoadOptions(device="cpu"), images=images)
    assert classifier.twin is None
    assert "correlate" in classifier.info.twin_unavailable
    assert as_checked(classifier).twin == classifier.doubted_twin is not None
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(60), store)
        summary = summarise(store, analyse(session, QUICK, sources=()))
    flagged = {one.name for one in summary.indicators if one.flagged}
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert "gradient_is_no_slope" in flagged
    assert summary.corrected.value < summary.naive.value - 0.5


def labels_of_a_network(folder: Path) -> tuple[Classifier, ImageSet]:
    """A linear network whose output is only its class, and images near its boundary."""
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat weight", "sums"),
            node("Add", "sums bias", "scores"),
            node("ArgMax", "scores", "top", axis=1, keepdims=0),
            node("OneHot", "top classes values", "y"),
        ],
        inputs={"x": ["b", 1, 4, 4]},
        outputs={"y": ["b", 2]},
        weights={
            "weight": np.stack([np.zeros(16), np.ones(16)], 1).astype(np.float32),
            "bias": np.array([0, -8], dtype=np.float32),
            "classes": np.array(2),
            "values": np.array([0, 1], dtype=np.float32),
        },
    )
    draw = np.random.default_rng(0).random((60, 1, 4, 4), dtype=np.float32)
    pixels = np.where(np.arange(60)[:, None, None, None] % 2, 0.6, 0.3) + 0.1 * draw
    images = from_arrays("test", pixels.astype(np.float32), np.arange(60) % 2)
    classifier = load_classifier(saved(folder, made), LoadOptions(device="cpu"), images=images)
    return classifier, images


@pytest.mark.slow
def test_a_file_that_answers_with_labels_is_masked_by_the_scores_inside(tmp_path: Path) -> None:
    classifier, images = labels_of_a_network(tmp_path)
    few = replace(QUICK, queries=1, noise_draws=1, long_queries=1)
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(60), store)
        summary = summarise(store, analyse(session, few, sources=()))
    fixes = {remedy.name: remedy for remedy in summary.remedies}
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert summary.hidden_in == "output layers"
    assert "inner_scores_beat_gradient" in {one.name for one in summary.indicators if one.flagged}
    assert fixes["scores inside the graph"].gets_through
    assert fixes["scores inside the graph"].robust.value == summary.corrected.value
    assert fixes["margin loss"].robust.value == 1


def test_the_long_search_starts_at_images_of_the_network_inside(tmp_path: Path) -> None:
    classifier, images = labels_of_a_network(tmp_path)
    some = np.arange(1, 40, 2)
    batch = Batch(some, images.pixels(some), torch.from_numpy(np.asarray(images.labels)[some]))
    one = replace(QUICK, long_queries=1)  # nothing else finds anything with one query
    found = AttackPlan.on(classifier, batch, one, 0).long_search().found
    within = batch.x.flatten(1).sum(1) - 8 < 16 * one.epsilon
    assert within.any()
    assert torch.equal(found, within)


class Grid(nn.Module):
    """The margin sum(x) - 8 of pixels on a grid, with the identity's slope or none."""

    def __init__(self, *, stand_in: bool) -> None:
        super().__init__()
        self.stand_in = stand_in

    def forward(self, x: Tensor) -> Tensor:
        steps = (x * 255).round() / 255
        if self.stand_in:
            steps = x + (steps - x).detach()
        margin = steps.flatten(1).sum(1) - 8
        return torch.stack([torch.zeros_like(margin), margin], 1)


def on_grid(*, number_format: bool) -> Classifier:
    node = StraightThroughNode("q", "any", number_format=number_format)
    info = ModelInfo("grid", "", "module", straight_through=(node,))
    surrogate, exact = Grid(stand_in=True), Grid(stand_in=False)
    model = Classifier.from_module(surrogate, image_shape=(1, 4, 4), num_classes=2, info=info)
    return replace(model, twin=Twin(surrogate, exact=exact))


def test_a_number_format_keeps_its_stand_in_gradient_and_a_rounding_node_does_not() -> None:
    noise = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch(np.arange(8), 0.55 + 0.1 * noise, torch.ones(8, dtype=torch.int64))
    for number_format in (True, False):
        model = as_checked(on_grid(number_format=number_format))
        rows, vanishes = evidence(model, batch, QUICK, seed=0), not number_format
        assert ((rows["gradient_norm_file"] == 0) == vanishes).all()
        assert ((rows["pgd_file"] == 1) != vanishes).all()
        assert (rows["pgd_ce"] == 1).all()


@pytest.mark.slow
def test_a_mean_of_saturated_probabilities_is_hidden_by_the_output_layers(tmp_path: Path) -> None:
    # margins of 500 times 0.8 and more for each of two members: the other class has probability 0
    members = [
        made
        for at in ("1", "2")
        for made in (
            node("MatMul", f"flat weight{at}", f"sums{at}"),
            node("Add", f"sums{at} bias{at}", f"scores{at}"),
            node("Softmax", f"scores{at}", f"p{at}"),
        )
    ]
    ends = [
        node("Mean", "p1 p2", "p"),
        node("Clip", "p low high", "some"),
        node("Log", "some", "y"),
    ]
    weight = np.stack([np.zeros(16), np.ones(16)], 1).astype(np.float32)
    made = model(
        [node("Flatten", "x", "flat"), *members, *ends],
        inputs={"x": ["b", 1, 4, 4]},
        outputs={"y": ["b", 2]},
        weights={
            "weight1": 500 * weight,
            "weight2": 520 * weight,
            "bias1": np.array([0, -500 * 8], np.float32),
            "bias2": np.array([0, -520 * 8], np.float32),
            "low": np.array(1e-7, np.float32),
            "high": np.array(1, np.float32),
        },
    )
    draw = np.random.default_rng(0).random((60, 1, 4, 4), dtype=np.float32)
    pixels = np.where(np.arange(60)[:, None, None, None] % 2, 0.6, 0.3) + 0.1 * draw
    images = from_arrays("test", pixels.astype(np.float32), np.arange(60) % 2)
    classifier = load_classifier(saved(tmp_path, made), LoadOptions(device="cpu"), images=images)
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(60), store)
        summary = summarise(store, analyse(session, QUICK, sources=()))
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert summary.hidden_in == "output layers"
    assert "need not be meant" in where_hidden(summary.hidden_in)
    assert summary.corrected.value < summary.naive.value - 0.3
