"""Largest eigenvalues of Hessians against closed forms, and what kinks do to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_functions import flat_batch, quadratic, two_logits
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.local_linearity.deviation import tangent
from robcert.certify.numerics.losses import Loss
from robcert.certify.radius_bounds.curvature import (
    kinked_share,
    largest_curvature,
    largest_eigenvalue,
)
from robcert.certify.radius_bounds.residuals import ResidualSearch, largest_residuals

DIAGONAL = torch.tensor([3, -1, 0.5, -4, 0, 2, 1, -0.2])


@given(seed=st.integers(0, 2**31), size=st.integers(1, 9))
@settings(max_examples=30)
def test_as_many_steps_as_dimensions_give_the_eigenvalue(seed: int, size: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    matrix = torch.randn(2, size, size, generator=draws, dtype=torch.float64)
    matrix = matrix + matrix.transpose(1, 2)

    def product(vectors: Tensor) -> Tensor:
        return (matrix @ vectors.unsqueeze(2)).squeeze(2)

    start = torch.randn(2, size, generator=draws, dtype=torch.float64)
    found = largest_eigenvalue(product, start, steps=size)
    expected = torch.linalg.eigvalsh(matrix)[:, -1]
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-6)
    fewer = largest_eigenvalue(product, start, steps=max(1, size // 2))
    assert (fewer <= expected + 1e-9).all()


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 3.0), (-1.0, 4.0)])
def test_curvature_of_a_quadratic(sign: float, expected: float) -> None:
    """F6: the largest eigenvalue with its sign, not the largest in size; the same anywhere."""
    classifier = two_logits(quadratic(sign * torch.diag(DIAGONAL), torch.ones(8), 0.3), 8)
    batch = flat_batch(torch.rand(5, 8, generator=torch.Generator().manual_seed(0)))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    found = largest_curvature(tangents, batch, steps=8, seed=0)
    assert found.tolist() == pytest.approx([expected] * 5, rel=1e-5)


@pytest.mark.parametrize("function", [lambda x: x.sum(1), lambda x: -(x * x).sum(1)])
def test_without_positive_curvature_there_is_none(function: object) -> None:
    classifier = two_logits(function, 6)  # type: ignore[arg-type]
    batch = flat_batch(torch.full((3, 6), 0.5))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    assert largest_curvature(tangents, batch, steps=4, seed=0).tolist() == [0, 0, 0]


def test_cross_entropy_of_a_logistic_model() -> None:
    """F4: log(1 + e^m) of m = w x has the Hessian p (1 - p) w wᵀ."""
    weight = torch.tensor([1.0, -2.0, 2.0])
    classifier = two_logits(lambda x: x @ weight, 3)
    batch = flat_batch(torch.tensor([[0.2, 0.4, 0.3], [0.9, 0.0, 0.0]]))
    tangents = tangent(classifier, batch.x, batch.y, Loss.CE)
    p = torch.sigmoid(batch.x.flatten(1) @ weight)
    found = largest_curvature(tangents, batch, steps=3, seed=0)
    assert found.tolist() == pytest.approx((9 * p * (1 - p)).tolist(), rel=1e-5)


def test_rows_do_not_depend_on_their_batch() -> None:
    matrix = torch.randn(12, 12, generator=torch.Generator().manual_seed(1))

    def bumpy(x: Tensor) -> Tensor:
        return torch.nn.functional.softplus(x @ matrix).square().sum(1)

    classifier = two_logits(bumpy, 12)
    batch = flat_batch(torch.rand(9, 12, generator=torch.Generator().manual_seed(0)))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    whole = largest_curvature(tangents, batch, steps=5, seed=0)
    order = np.array([7, 2, 5])
    part = largest_curvature(tangents.part(order), batch.part(order), steps=5, seed=0)
    assert torch.equal(whole[order], part)


def shares(function: object) -> float:
    """Kinked share of 20 points of one function."""
    rows = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    classifier = two_logits(function, 6)  # type: ignore[arg-type]
    batch = Batch(np.arange(20), rows[:, None, None], torch.zeros(20, dtype=torch.int64))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    residual = largest_residuals(
        tangents, batch, ResidualSearch(Norm.L2, (0.05,), 10, 0, repeats=True)
    )
    curvature = largest_curvature(tangents, batch, steps=6, seed=0)
    within, floor = residual.found[:, 0].double().numpy(), residual.floor.double().numpy()
    return kinked_share(curvature.double().numpy(), within, floor, epsilon=0.05)


def test_kinks_are_told_from_curvature() -> None:
    """Bends every 0.1 lie within 0.05 of nearly every point; a softplus has none."""
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    assert shares(lambda x: (10 * (x @ matrix) % 1 - 0.5).abs().sum(1)) > 0.9
    assert shares(lambda x: torch.nn.functional.softplus(x @ matrix).square().sum(1)) == 0
    assert shares(lambda x: x.sum(1)) == 0
