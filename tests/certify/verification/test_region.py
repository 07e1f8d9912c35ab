"""Minima of linear functions over balls cut by boxes, against independent solvers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixed_integer import least_product

from robcert.certify.core import Ball, Norm
from robcert.certify.verification.bounds import Region

SHAPE = (1, 2, 3)
SOLVER = 3e-7
"""Tolerance of the linear programs."""
RADII = (1e-5, 0.003, 0.1, 0.5, 0.9, 2.0, 40.0)


def case(seed: int, *, edge: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients ``(r, *shape)`` and an image, at the edge of the box or inside it."""
    draws = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, *SHAPE, generator=draws, dtype=torch.float64)
    rows[0] = 0
    rows[1, 0, 0] = 0
    rows[2] = 1
    x = torch.rand(SHAPE, generator=draws)
    return rows, (x * 2 - 0.5).clamp(0, 1) if edge else x


def least_in_l2(row: np.ndarray, x: np.ndarray, radius: float) -> float:
    """Minimum over the l2 ball and [0, 1], by bisection of the multiplier t: the change is
    ``clip(-row / (2 t))`` and its length falls with t.
    """

    def change(t: float) -> np.ndarray:
        return np.clip(x - row / (2 * t), 0, 1) - x

    low, high = 1e-12, 1e12
    if np.linalg.norm(change(low)) <= radius:
        return float(row @ (x + change(low)))
    for _ in range(300):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if np.linalg.norm(change(middle)) > radius else (low, middle)
    return float(row @ (x + change(high)))


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize("radius", RADII)
def test_minima_are_those_of_a_solver(radius: float, edge: bool, norm: Norm) -> None:
    rows, x = case(7, edge=edge)
    found = Region.of_ball(x, Ball(norm, radius)).minimum(rows)
    centre = x.double().flatten().numpy()
    for row, value in zip(rows.flatten(1).numpy(), found.tolist(), strict=True):
        if norm is Norm.L2:
            exact = least_in_l2(row, centre, radius)
        else:
            exact = least_product(row, centre, norm, radius)
        assert value <= exact + SOLVER
        assert value >= exact - 1e-3 * min(radius, 1.0) * np.abs(row).sum() - 1e-9


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    radius=st.floats(1e-6, 10),
    norm=st.sampled_from(list(Norm)),
    scale=st.sampled_from([1.0, 1e-200, 1e-170, 1e-30, 1e30, 1e140]),
)
def test_no_point_of_the_region_lies_below_the_minimum(
    seed: int, radius: float, norm: Norm, scale: float
) -> None:
    rows, x = case(seed, edge=bool(seed % 2))
    rows = rows * scale
    region = Region.of_ball(x, Ball(norm, radius))
    found = region.minimum(rows)
    draws = np.random.default_rng(seed)
    centre = x.double().flatten().numpy()
    change = draws.normal(size=(200, 6)) * draws.choice([0.0, 1.0], size=(200, 6))
    change[:6], change[6:12] = np.eye(6), -np.eye(6)
    rest = torch.from_numpy(change[12:])
    change[12:] = rest.sign().numpy() if norm is Norm.LINF else rest.numpy()
    size = norm.of(torch.from_numpy(change)).numpy().clip(min=1e-300)
    points = np.clip(centre + change * (radius / size)[:, None], 0, 1)
    values = points @ rows.flatten(1).numpy().T
    allowed = 1e-12 * scale
    assert (values.min(axis=0) >= found.numpy() - allowed).all()


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("radius", RADII)
def test_minimisers_lie_in_the_region_and_are_nearly_least(radius: float, norm: Norm) -> None:
    for edge in (False, True):
        rows, x = case(3, edge=edge)
        region = Region.of_ball(x, Ball(norm, radius))
        found = region.minimiser(rows)
        change = (found - x.double()).flatten(1)
        assert (norm.of(change) <= radius * (1 + 1e-9) + 1e-12).all()
        assert (found >= -1e-12).all()
        assert (found <= 1 + 1e-12).all()
        values = (rows * found).flatten(1).sum(1)
        least = region.minimum(rows)
        assert (values >= least - 1e-12).all()
        assert torch.allclose(values, least, atol=1e-3 * min(radius, 1.0) * 6 + 1e-9)


def test_an_image_outside_the_box_keeps_its_own_ball() -> None:
    x = torch.full(SHAPE, 1.2)
    for norm in Norm:
        region = Region.of_ball(x, Ball(norm, 0.1))
        rows = torch.eye(6, dtype=torch.float64).view(6, *SHAPE)
        assert (region.minimum(rows) <= 1.1 + 1e-6).all()
        assert (region.minimum(-rows) <= -float(x[0, 0, 0]) + 1e-12).all()


def test_integer_radii_are_taken() -> None:
    region = Region.of_ball(torch.rand(SHAPE), Ball(Norm.LINF, 1))
    assert float(region.lower.min()) == 0
    assert float(region.upper.max()) == 1


def test_a_box_is_a_region() -> None:
    low, high = torch.tensor([[-3.0, 2.0]]), torch.tensor([[5.0, 2.0]])
    region = Region.of_box(low, high)
    rows = torch.tensor([[[1.0, 1.0]], [[-1.0, 1.0]]])
    assert torch.allclose(region.minimum(rows), torch.tensor([-1.0, -3.0]).double())
    assert torch.equal(region.minimiser(rows)[0], low.double())
