"""Attacks run only where they can change the answer, and the answer stays what it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.attacks.black_box.square import SquareConfig, square
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.masking.checklist import Facts, indicators_of
from robcert.certify.masking.evidence import evidence
from robcert.certify.masking.outcomes import AFTER_GRADIENTS
from robcert.certify.masking.remedies import remedies_of
from robcert.certify.masking.schema import BY_GRADIENT, NEEDLESS
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.model.classifier import Classifier, Twin

if TYPE_CHECKING:
    from robcert.certify.session import Columns

FEW = MaskingSettings(
    epsilon=0.1,
    steps=10,
    restarts=2,
    unbounded_steps=10,
    noise_draws=5,
    queries=20,
    long_queries=20,
    decision_queries=0,
    strengths=(0.5, 2.0),
    noisy_copies=2,
)
STRIDE = 0.4
"""Each image's sum of pixels exceeds 8 by so much more than that of the one before."""


class Sums(nn.Module):
    """Two classes; the margin of class 1 is the sum of the pixels minus 8."""

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1).sum(1) - 8
        return torch.stack([torch.zeros_like(margin), margin], 1)


def classifier() -> Classifier:
    return Classifier.from_module(Sums(), image_shape=(1, 4, 4), num_classes=2)


def batch(n: int = 9) -> Batch:
    """Sums of 7.8, 8.2, 8.6, …: the first is misclassified; 0.1 moves a sum by 1.6."""
    sums = 7.8 + STRIDE * torch.arange(n)
    return Batch(
        np.arange(n), (sums / 16).view(-1, 1, 1, 1).expand(-1, 1, 4, 4), torch.ones(n).long()
    )


def rows() -> Columns:
    return evidence(classifier(), batch(), FEW, seed=0, sources=(classifier(),))


def test_searches_run_on_the_images_that_survive_gradients() -> None:
    columns = rows()
    fall = [False, *([True] * 4), *([False] * 4)]  # sums of 8.2 … 9.4
    assert (columns["pgd_ce"] == 1).tolist() == fall
    for name in set(AFTER_GRADIENTS) - {"inner", "hopskipjump"}:
        assert columns[name].tolist() == [NEEDLESS] * 5 + [0] * 4, name
    assert columns["inner"].tolist() == [-1] * 9  # the model has no such attack
    assert (
        columns["naive_at"].tolist()
        == [
            *([[1, 1]] * 3),  # misclassified, and 8.2, 8.6 within half of the radius
            *([[0, 1]] * 5),
            *([[0, 0]] * 1),
        ]
        or columns["naive_at"][5:].tolist() == [[0, 1]] * 4
    )


def test_indicators_and_remedies_count_every_correct_image() -> None:
    columns = rows() | {"earlier": np.full(9, -1, np.int8), "rounds": np.full(9, -1, np.int8)}
    found = {one.name: one for one in indicators_of(columns, Facts())}
    for name in ("search_beats_gradient", "transfer_beats_gradient", "rescaling_helps"):
        assert (found[name].n, found[name].value) == (8, 0), name
    assert not found["hopskipjump_beats_gradient"].ran
    remedies = {one.name: one for one in remedies_of(columns, straight_through=False)}
    for name in ("score search", "margin loss", "rescaled logits", "transfer from other models"):
        assert remedies[name].robust.value == pytest.approx(4 / 9), name
        assert remedies[name].robust.n == 9
    assert remedies["score search"].broken_beyond.value == 0


def test_without_a_gradient_every_correct_image_is_searched() -> None:
    columns = evidence(replace(classifier(), twin=None), batch(), FEW, seed=0)
    assert all((columns[name] == -1).all() for name in BY_GRADIENT)
    assert (columns["search"][1:] >= 0).all()
    assert columns["search"][0] == NEEDLESS


def test_the_files_own_output_is_attacked_again_only_if_it_differs() -> None:
    asked = [0, 0]
    for at in (0, 1):

        def watched(x: Tensor, at: int = at) -> Tensor:
            asked[at] += len(x)
            return Sums()(x)

        declared = (lambda x, watched=watched: watched(x).softmax(1)) if at else None
        model = replace(classifier(), twin=Twin(watched, declared=declared))
        columns = evidence(model, batch(), FEW, seed=0)
        assert columns["pgd_file"].tolist() == columns["pgd_ce"].tolist()
    assert asked[0] < asked[1]


def test_score_search_stops_where_it_is_far_and_not_where_it_is_near() -> None:
    one, ball = batch(30), Ball(Norm.LINF, 0.1)
    whole, early = (
        square(classifier(), one, ball, SquareConfig(100, 0.1, early_stopping=stop))
        for stop in (False, True)
    )
    assert torch.equal(whole.found, early.found)
    assert whole.found.any()
    assert (early.n_forward[-5:] < 40).all()  # sums of 18 and more
    assert (whole.n_forward[-5:] >= 100).all()
    survivor = int((~whole.found).nonzero()[0])
    assert early.n_forward[survivor] > 90
