"""Search by labels only, against the exact distances of linear models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.attacks.black_box.label_only import label_search
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.model.classifier import Classifier

SHAPE = (1, 4, 4)


class Sum(nn.Module):
    """Labels alone: one-hot of whether the pixels sum to more than 8."""

    def forward(self, x: Tensor) -> Tensor:
        large = (x.flatten(1).sum(1) > 8).long()
        return nn.functional.one_hot(large, 2).float()


def grey(level: float, n: int) -> Batch:
    x = torch.full((n, *SHAPE), level) + 0.01 * torch.arange(n).view(-1, 1, 1, 1)
    return Batch(np.arange(n), x, torch.ones(n, dtype=torch.int64))


def model() -> Classifier:
    return Classifier.from_module(Sum(), image_shape=SHAPE, num_classes=2)


def test_it_breaks_an_image_exactly_where_the_ball_reaches_the_boundary() -> None:
    batch = grey(0.52, 10)  # at linf distances 0.02, 0.03, ..., 0.11
    found = label_search(model(), batch, Ball(Norm.LINF, 0.065), queries=100)
    assert found.found.tolist() == [True] * 5 + [False] * 5
    assert (found.distance[:5] <= 0.065 + 1e-6).all()


def test_queries_are_bounded() -> None:
    found = label_search(model(), grey(0.9, 3), Ball(Norm.LINF, 0.01), queries=80)
    assert not found.found.any()
    assert (found.n_forward <= 80 + 10).all()


@pytest.mark.parametrize(("norm", "epsilon"), [(Norm.L2, 0.5), (Norm.L1, 4.0)])
def test_other_norms_walk_along_the_boundary(norm: Norm, epsilon: float) -> None:
    # l2 distance of a grey image is 4 times its linf distance, l1 distance 16 times
    found = label_search(model(), grey(0.52, 3), Ball(norm, epsilon), queries=300)
    assert found.found.all()
    far = label_search(model(), grey(0.8, 3), Ball(norm, epsilon), queries=50)
    assert not far.found.any()


def test_rows_do_not_depend_on_other_images() -> None:
    whole = label_search(model(), grey(0.52, 8), Ball(Norm.LINF, 0.06), queries=60)
    alone = grey(0.52, 8)
    one = Batch(alone.index[3:4], alone.x[3:4], alone.y[3:4])
    single = label_search(model(), one, Ball(Norm.LINF, 0.06), queries=60)
    assert torch.equal(single.x_adv[0], whole.x_adv[3])


class Halves(nn.Module):
    """Labels alone: whether the lower half is brighter than the upper by more than -0.5."""

    def forward(self, x: Tensor) -> Tensor:
        upper, lower = x.flatten(1).chunk(2, 1)
        brighter = (lower.sum(1) - upper.sum(1) + 0.5 > 0).long()
        return nn.functional.one_hot(brighter, 2).float()


def test_the_last_image_may_break_at_the_last_block() -> None:
    halves = Classifier.from_module(Halves(), image_shape=SHAPE, num_classes=2)
    batch = Batch(np.arange(1), torch.full((1, *SHAPE), 0.5), torch.ones(1, dtype=torch.int64))
    found = label_search(halves, batch, Ball(Norm.LINF, 0.1), queries=100)
    assert found.found.tolist() == [True]
    assert found.distance.item() <= 0.1 + 1e-6
