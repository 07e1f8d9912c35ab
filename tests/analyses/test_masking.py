"""The masking check on models whose gradients are known to be honest or hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.analyses.masking import MaskingSummary, analyse, summarise
from robcert.certify.classifier import Classifier
from robcert.certify.core import Batch
from robcert.certify.data_arrays import from_arrays
from robcert.certify.masking import Verdict
from robcert.certify.masking_evidence import MaskingSettings, evidence
from robcert.certify.schema import MASKING
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.image_set import ImageSet

QUICK = MaskingSettings(
    epsilon=0.15, steps=10, restarts=1, unbounded_steps=20, noise_draws=20, queries=200
)
SHAPE = (1, 4, 4)


class Linear(nn.Module):
    """Two classes; the margin of class 1 is scale * (sum(x) - 8)."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        margin = self.scale * (x.flatten(1).sum(1) - 8)
        return torch.stack([torch.zeros_like(margin), margin], 1)


class Staircase(nn.Module):
    """The same on pixels rounded to sixteenths: gradient 0 everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return Linear()((x * 16).round() / 16)


def images_near_the_boundary(n: int = 60) -> ImageSet:
    """Images around 0.6, all of class 1, at linf distance about 0.1 from the boundary."""
    noise = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
    return from_arrays("test", 0.55 + 0.1 * noise, np.ones(n, np.int64))


def batch_of(images: ImageSet, start: int, stop: int) -> Batch:
    indices = np.arange(start, stop)
    return Batch(indices, images.pixels(indices), torch.ones(stop - start, dtype=torch.int64))


def checked(module: nn.Module, folder: Path, settings: MaskingSettings = QUICK) -> MaskingSummary:
    classifier = Classifier.from_module(module, image_shape=SHAPE, num_classes=2)
    return summary_of(classifier, folder, settings)


def summary_of(
    classifier: Classifier, folder: Path, settings: MaskingSettings = QUICK
) -> MaskingSummary:
    images = images_near_the_boundary()
    with ResultStore.open(folder / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(len(images)), store, batch_size=32)
        return summarise(store, analyse(session, settings))


def test_a_linear_model_that_is_not_robust_is_clear(tmp_path: Path) -> None:
    summary = checked(Linear(), tmp_path)
    assert summary.verdict is Verdict.CLEAR, summary.reason
    assert summary.corrected.value == 0


def test_a_robust_linear_model_is_clear(tmp_path: Path) -> None:
    # sum(x) - 8 >= 16 * 0.05 and eps = 0.01 moves the sum by at most 0.16
    summary = checked(Linear(), tmp_path, MaskingSettings(epsilon=0.01, steps=5, queries=50))
    assert summary.verdict is Verdict.CLEAR, summary.reason
    assert summary.corrected.value == 1


def test_saturated_cross_entropy_is_masked_and_the_margin_attack_says_so(tmp_path: Path) -> None:
    # margins of 1000 times 0.8 ... 2.4: exp(-104) is 0 in float32, so the CE gradient is exactly 0
    summary = checked(Linear(scale=1000.0), tmp_path)
    assert summary.verdict is Verdict.MASKED, summary.reason
    assert summary.hidden_in == "both"
    assert summary.naive.value == 1
    assert summary.corrected.value == 0


def test_a_staircase_is_masked_because_search_gets_through(tmp_path: Path) -> None:
    summary = checked(Staircase(), tmp_path)
    assert summary.verdict is Verdict.MASKED, summary.reason
    by_name = {indicator.name: indicator for indicator in summary.indicators}
    assert by_name["vanishing_gradient_margin"].value == 1
    assert by_name["search_beats_gradient"].flagged
    assert by_name["withstands_unbounded"].flagged


def test_without_a_twin_the_verdict_is_unknown_at_best(tmp_path: Path) -> None:
    classifier = Classifier.from_module(Linear(), image_shape=SHAPE, num_classes=2)
    classifier.twin = None
    batch = batch_of(images_near_the_boundary(), 0, 20)
    assert (evidence(classifier, batch, QUICK, seed=0)["pgd_ce"] == -1).all()
    summary = summary_of(classifier, tmp_path)
    assert summary.verdict is Verdict.UNKNOWN
    assert "pgd_ce" in summary.reason or "hidden" in summary.reason


@pytest.mark.parametrize("size", [1, 7])
def test_rows_do_not_depend_on_the_batch(size: int) -> None:
    classifier = Classifier.from_module(Linear(), image_shape=SHAPE, num_classes=2)
    images = images_near_the_boundary()
    whole = evidence(classifier, batch_of(images, 0, 14), QUICK, seed=3)
    parts = [
        evidence(classifier, batch_of(images, start, start + size), QUICK, seed=3)
        for start in range(0, 14, size)
    ]
    assert set(whole) <= {column.name for column in MASKING.columns}
    for name, column in whole.items():
        np.testing.assert_array_equal(column, np.concatenate([part[name] for part in parts]))
