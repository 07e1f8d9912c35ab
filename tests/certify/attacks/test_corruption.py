"""`robcert corruption`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from linear_models import SHAPE, linear_classifier, linear_module, near_grey
from torch import nn

from robcert.certify.attacks.corruption import Change, CorruptionSettings, analyse, summarise
from robcert.certify.attacks.tables import corruption_tables
from robcert.certify.data.load import from_arrays
from robcert.certify.errors import InvalidParameterError
from robcert.certify.model.classifier import Classifier
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 200


def session(
    path: Path, model: Classifier | None = None, *, count: int = COUNT, batch_size: int = 64
) -> Session:
    used = model or linear_classifier(3, classes=2)
    batch = near_grey(used, count)
    images = from_arrays("grey", batch.x.numpy(), batch.y.numpy())
    store = ResultStore.open(path, model=used.info, data=images.info)
    return Session(used, images, np.arange(count), store, seed=5, batch_size=batch_size)


def test_noise_errs_as_often_as_the_normal_distribution_predicts(tmp_path: Path) -> None:
    """Two linear logits, noise of deviation s: wrong with probability Phi(-margin / (s ||w||))."""
    run, sigmas = session(tmp_path / "r.h5"), (0.01, 0.05)
    settings = CorruptionSettings(Change.GAUSSIAN, tuple((s,) for s in sigmas), draws=20)
    weight = next(linear_module(3, classes=2)[1].parameters()).detach()
    slope = (weight[1] - weight[0]).norm()
    logits = run.classifier.logits(run.images.pixels(run.indices))
    margin = (logits[:, 1] - logits[:, 0]).abs()
    with run.store:
        path = analyse(run, settings)
        wrong = run.store.at(path).column("wrong")
        summary = summarise(run.store, path)
    for at, sigma in enumerate(sigmas):
        expected = torch.special.ndtr(-margin / (sigma * slope)).double()
        spread = (expected * (1 - expected) / 20).sum().sqrt() / COUNT
        assert abs(wrong[:, at].mean() / 20 - expected.mean()) < 4 * spread
        assert summary.accuracy[at].mean == pytest.approx(1 - wrong[:, at].mean() / 20)
        one, worst = summary.accuracy[at].one_draw, summary.accuracy[at].worst
        assert worst.value == (wrong[:, at] == 0).mean()
        assert worst.value <= one.value
        assert one.lower < one.value < one.upper


def test_a_symmetric_model_is_blind_to_motions_that_a_shifted_image_shows(tmp_path: Path) -> None:
    """The class is whether the mean pixel is above a fifth: shifts lose what leaves the image."""

    class Bright(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            light = x.flatten(1).mean(1) - 0.2
            return torch.stack([-light, light], dim=1)

    bright = Classifier.from_module(Bright(), image_shape=SHAPE, num_classes=2)
    run = session(tmp_path / "r.h5", bright, count=20)
    settings = CorruptionSettings(strengths=((0.0, 0.01), (0.0, 1.0)), draws=30)
    with run.store:
        summary = summarise(run.store, analyse(run, settings))
    small, large = summary.accuracy
    assert small.worst.value == 1.0  # at most a hundredth of the light is lost
    assert large.worst.value == 0.0  # of 30 shifts by up to a whole side, one loses nearly all


@pytest.mark.parametrize("change", list(Change))
def test_rows_depend_on_the_image_and_the_strength_alone(tmp_path: Path, change: Change) -> None:
    strengths = ((5.0, 0.1), (30.0, 0.2)) if change is Change.SPATIAL else ((0.02,), (0.1,))
    whole = session(tmp_path / "whole.h5", count=12)
    with whole.store:
        group = whole.store.at(analyse(whole, CorruptionSettings(change, strengths)))
        expected = group.column("wrong")
    parts = session(tmp_path / "parts.h5", count=12, batch_size=5)
    with parts.store:
        parts.indices = np.array([7, 2])
        analyse(parts, CorruptionSettings(change, strengths))
        parts.indices = np.arange(12)
        group = parts.store.at(analyse(parts, CorruptionSettings(change, strengths)))
        np.testing.assert_array_equal(group.column("wrong"), expected)
        alone = parts.store.at(analyse(parts, CorruptionSettings(change, strengths[1:])))
        np.testing.assert_array_equal(alone.column("wrong")[:, 0], expected[:, 1])


def test_clipping_is_said_and_changes_what_leaves_the_range(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outside = (x - x.clamp(0, 1)).abs().flatten(1).amax(1)
            return torch.stack([0.5 - outside, outside - 0.5], dim=1)

    inside = Classifier.from_module(Sum(), image_shape=SHAPE, num_classes=2)
    run = session(tmp_path / "r.h5", inside, count=10)
    strengths = ((2.0,),)
    with run.store:
        free = summarise(run.store, analyse(run, CorruptionSettings(Change.GAUSSIAN, strengths)))
        clipped = summarise(
            run.store, analyse(run, CorruptionSettings(Change.GAUSSIAN, strengths, clip=True))
        )
    assert free.accuracy[0].one_draw.value == 0.0
    assert clipped.accuracy[0].one_draw.value == 1.0
    shown = tuple(corruption_tables([clipped]))
    assert [table.claim for table in shown] == ["measured", "attacked"]
    assert "clipped" in shown[0].note


def test_bad_settings_are_named() -> None:
    for strength in ((200.0, 0.1), (10.0, 2.0), (0.0, 0.0)):
        with pytest.raises(InvalidParameterError, match="a motion rotates"):
            CorruptionSettings(strengths=(strength,))
    with pytest.raises(InvalidParameterError, match="standard deviation"):
        CorruptionSettings(Change.GAUSSIAN, ((-0.1,),))
    with pytest.raises(InvalidParameterError, match="draws must be"):
        CorruptionSettings(draws=0)
