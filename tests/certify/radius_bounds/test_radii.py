"""L-bound, omega-bound and their samples against closed forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from known_functions import flat_batch, quadratic, two_logits

from robcert.certify.core import Batch, Norm
from robcert.certify.local_linearity.deviation import tangent
from robcert.certify.numerics.losses import Loss
from robcert.certify.radius_bounds.gradient_norm import GradientNormSearch, largest_gradient_norm
from robcert.certify.radius_bounds.radii import (
    curvature_bound,
    epsilon_grid,
    l_bound,
    omega_bound,
    sample_blocks,
    vanishing_share,
)
from robcert.certify.radius_bounds.residuals import ResidualSearch, largest_residuals

if TYPE_CHECKING:
    from robcert.certify.model.classifier import Classifier


def residuals(
    classifier: Classifier,
    batch: Batch,
    epsilons: tuple[float, ...],
    *,
    norm: Norm,
    restarts: int = 2,
) -> list[list[float]]:
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    found = largest_residuals(
        tangents, batch, ResidualSearch(norm, epsilons, 20, 0, repeats=restarts > 1)
    )
    return [[float(value) for value in row] for row in found.found]


def omega_radius(
    gap: float, slope: float, epsilons: tuple[float, ...], omegas: list[float]
) -> float:
    loss, slopes = np.array([-gap]), np.array([slope])
    return float(omega_bound(loss, slopes, epsilons=epsilons, omegas=np.array(omegas))[0][0])


def test_l_bound() -> None:
    radii = l_bound(np.array([-3.0, -0.5, 0.0, 2.0]), 5.0)
    assert radii.tolist() == pytest.approx([0.6, 0.1, 0, 0])


@pytest.mark.parametrize("lipschitz", [0.0, float("inf")])
def test_l_bound_claims_nothing_without_a_number(lipschitz: float) -> None:
    assert l_bound(np.array([-3.0]), lipschitz).tolist() == [0]


@pytest.mark.parametrize(("points", "expected"), [(10, 0.4), (50, 0.437714), (500, 0.438)])
def test_omega_bound_of_a_quadratic(points: int, expected: float) -> None:
    """F7: (-G + sqrt(G² + 2 lambda gap)) / lambda = 0.438987, from below as the grid gets finer."""
    grid = tuple(float(x) for x in np.linspace(1 / points, 1, points))
    omegas = [0.5 * 2 * epsilon**2 for epsilon in grid]
    radius = omega_radius(0.5, 0.7, grid, omegas)
    assert radius == pytest.approx(expected, abs=2e-3)
    assert radius <= 0.438987 + 1e-9


@pytest.mark.parametrize(("norm_of_x", "distance"), [(0.2, 0.8), (0.6, 0.4)])
def test_omega_bound_is_tight_for_a_ball(norm_of_x: float, distance: float) -> None:
    """F8: loss ½‖x‖² - ½, so gap ½(1 - r²), G = r, omega ½eps²; the true distance is 1 - r."""
    grid = tuple(float(x) for x in np.linspace(0.001, 1, 1000))
    radius = omega_radius(0.5 * (1 - norm_of_x**2), norm_of_x, grid, [e**2 / 2 for e in grid])
    assert distance - 2e-3 <= radius <= distance + 1e-9


def test_omega_bound_by_hand() -> None:
    """At eps 0.1, 0.2, 0.4: (1 - 0.2)/2 = 0.4, (1 - 0.5)/2 = 0.25, (1 - 0.9)/2 = 0.05."""
    grid, omegas = (0.1, 0.2, 0.4), [0.2, 0.5, 0.9]
    assert omega_radius(1.0, 2.0, grid, omegas) == pytest.approx(0.2)
    assert omega_radius(0.4, 2.0, grid, omegas) == pytest.approx(0.1)
    assert omega_radius(0.3, 2.0, grid, omegas) == pytest.approx(0.05)
    assert omega_radius(0.1, 2.0, grid, omegas) == 0


def test_omega_bound_at_the_end_of_the_grid_is_censored() -> None:
    grid, omegas = (0.1, 0.2), np.array([0.0, 0.1])
    radii, censored = omega_bound(
        np.array([-5.0, -0.3, 1.0, -0.2]),
        np.array([1.0, 2.0, 1.0, 0.0]),
        epsilons=grid,
        omegas=omegas,
    )
    assert radii.tolist() == pytest.approx([0.2, 0.1, 0, 0.2])
    assert censored.tolist() == [True, False, False, True]


def test_omega_bound_repairs_falling_omegas() -> None:
    grid = (0.1, 0.2)
    falling = omega_radius(0.5, 1.0, grid, [0.4, 0.1])
    assert falling == omega_radius(0.5, 1.0, grid, [0.4, 0.4]) == pytest.approx(0.1)


@given(
    gap=st.floats(0.01, 10),
    slope=st.floats(0.01, 10),
    steps=st.lists(st.floats(0, 2), min_size=4, max_size=4),
)
def test_omega_bound_satisfies_the_proposition(
    gap: float, slope: float, steps: list[float]
) -> None:
    """gap >= omega(eps_j) + r G for the first eps_j at or above r; gap / G where omega is 0."""
    grid = (0.1, 0.2, 0.4, 0.8)
    omegas = np.cumsum(steps)
    radius = omega_radius(gap, slope, grid, omegas.tolist())
    if radius > 0:
        at = next(j for j, epsilon in enumerate(grid) if epsilon >= radius * (1 - 1e-12))
        assert gap - omegas[at] - radius * slope >= -1e-9
    flat = omega_radius(gap, slope, grid, [0, 0, 0, 0])
    assert flat == pytest.approx(min(gap / slope, 0.8))
    assert radius <= flat * (1 + 1e-12)


@pytest.mark.parametrize("epsilon", [0.1, 0.4, 0.5, 0.8, 1.0, 1.3, 2.2])
def test_omega_of_a_triangle_wave(epsilon: float) -> None:
    """F10: slope ±2, period 1: 2 (nP + min(2r, P)), reached from just left of a minimum."""

    def wave(x: torch.Tensor) -> torch.Tensor:
        return 2 * (x[:, 0] - x[:, 0].floor() - 0.5).abs()  # minimum at 0.5, period 1

    batch = flat_batch(torch.linspace(0.4, 0.4999, 12)[:, None])
    n, r = int(epsilon // 1), epsilon % 1
    expected = 2 * (n + min(2 * r, 1))
    found = residuals(two_logits(wave, 1), batch, (epsilon,), norm=Norm.LINF, restarts=6)
    assert max(row[0] for row in found) == pytest.approx(expected, abs=2 * 0.02)


def test_omega_of_a_kink() -> None:
    """F9: 2 ReLU(x) just left of 0 has omega 2 eps."""
    classifier = two_logits(lambda x: 2 * (x[:, 0] - 0.5).relu(), 1)
    found = residuals(classifier, flat_batch(torch.tensor([[0.49999]])), (2.2,), norm=Norm.LINF)
    assert found[0][0] == pytest.approx(4.4, rel=1e-3)


@pytest.mark.parametrize(("norm", "factor"), [(Norm.L2, 1.5), (Norm.LINF, 3.25), (Norm.L1, 1.5)])
def test_omega_of_a_quadratic_over_a_grid(norm: Norm, factor: float) -> None:
    """F6, F6b: factor * eps², rising along the grid."""
    matrix = torch.diag(torch.tensor([3, -1, 0.5, -4, 0, 2, 1, -0.2]))
    classifier = two_logits(quadratic(matrix), 8)
    grid = (0.1, 0.5, 1.0)
    batch = flat_batch(torch.rand(2, 8, generator=torch.Generator().manual_seed(0)))
    for row in residuals(classifier, batch, grid, norm=norm, restarts=6):
        assert row == pytest.approx([factor * epsilon**2 for epsilon in grid], rel=0.02)


def test_random_points_miss_what_ascent_finds() -> None:
    curved = torch.zeros(784)
    curved[0] = 1.0
    classifier = two_logits(lambda x: 0.5 * (x * x) @ curved, 784)
    batch = flat_batch(torch.full((4, 784), 0.5))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    found = largest_residuals(tangents, batch, ResidualSearch(Norm.L2, (1.0,), 20, 0))
    assert (found.found >= 0.499).all()
    assert (found.random <= 0.05).all()


@pytest.mark.parametrize(
    ("norm", "expected"), [(Norm.L2, 3.0 * 0.5), (Norm.LINF, 4.5 * 0.5), (Norm.L1, 3.0 * 0.5)]
)
def test_gradient_norm_in_a_ball(norm: Norm, expected: float) -> None:
    """½ xᵀAx around 0 has gradient A d: 3 R in l2 and l1 (A = diag(3, -1, 0.5)), 4.5 R in linf."""
    classifier = two_logits(quadratic(torch.diag(torch.tensor([3, -1, 0.5]))), 3)
    batch = flat_batch(torch.zeros(2, 3))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    found = largest_gradient_norm(tangents, batch, GradientNormSearch(norm, 0.5, 20, 2, seed=0))
    assert found.tolist() == pytest.approx([expected] * 2, rel=2e-2)


def test_gradient_norm_in_a_ball_sees_a_kink_ahead() -> None:
    """ReLU(5 (x - 0.6)) has slope 0 at 0.5 and 5 within 0.2 of it; not within 0.05."""
    classifier = two_logits(lambda x: (5 * (x - 0.6).relu() + 0.1 * x).sum(1), 1)
    batch = flat_batch(torch.tensor([[0.5]]))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    for radius, expected in ((0.2, 5.1), (0.05, 0.1)):
        found = largest_gradient_norm(
            tangents, batch, GradientNormSearch(Norm.L2, radius, 5, 1, seed=0)
        )
        assert found.item() == pytest.approx(expected, rel=1e-3)


def test_gradient_norm_in_a_ball_leaves_an_affine_part() -> None:
    """Slope 3 in a corner of the ball that most starts see nothing of, 0 elsewhere."""
    classifier = two_logits(lambda x: 3 * (x[:, 0] - 0.85).relu(), 2)
    batch = flat_batch(torch.full((32, 2), 0.5))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    found = largest_gradient_norm(tangents, batch, GradientNormSearch(Norm.L2, 0.4, 20, 2, seed=0))
    assert found.max() == pytest.approx(3)
    assert (found > 0).double().mean() >= 0.3


def test_blocks_are_disjoint_and_fixed_by_data_and_seed() -> None:
    blocks = sample_blocks(1000, blocks=40, block_size=20, seed=0, data_sha256="a")
    assert blocks.shape == (40, 20)
    assert len(np.unique(blocks)) == 800
    again = sample_blocks(1000, blocks=40, block_size=20, seed=0, data_sha256="a")
    assert (blocks == again).all()
    for seed, sha in ((1, "a"), (0, "b")):
        other = sample_blocks(1000, blocks=40, block_size=20, seed=seed, data_sha256=sha)
        assert (blocks != other).any()


@pytest.mark.parametrize(
    ("n", "blocks", "size", "shape"),
    [
        (20_000, 100, 100, (100, 100)),
        (2000, 100, 100, (100, 20)),
        (500, 100, 100, (50, 10)),
        (200, 100, 100, (20, 10)),
        (7, 100, 100, (1, 7)),
        (300, 30, 10, (30, 10)),
        (40, 10, 3, (10, 3)),
    ],
)
def test_blocks_shrink_with_the_data(
    n: int, blocks: int, size: int, shape: tuple[int, int]
) -> None:
    found = sample_blocks(n, blocks=blocks, block_size=size, seed=0, data_sha256="")
    assert found.shape == shape
    assert len(np.unique(found)) == found.size


def test_grid_holds_the_users_epsilon() -> None:
    grid = epsilon_grid(8 / 255, 9)
    assert grid[0] == pytest.approx(1 / 255)
    assert grid[6] == pytest.approx(8 / 255)
    assert grid[-1] == pytest.approx(16 / 255)


@pytest.mark.parametrize(
    ("gap", "slope", "curvature", "radius"),
    [
        (0.5, 0.7, 2.0, 0.438987),  # F7
        (0.48, 0.2, 1.0, 0.8),  # F8 at ‖x‖ = 0.2: exactly 1 - ‖x‖
        (0.32, 0.6, 1.0, 0.4),  # F8 at ‖x‖ = 0.6
        (0.6, 2.0, 0.0, 0.3),  # no curvature: gap / G
        (0.6, 0.0, 0.3, 2.0),
        (0.6, 0.0, 0.0, 0.0),  # nothing was seen, so nothing is claimed
        (-0.1, 1.0, 1.0, 0.0),
    ],
)
def test_curvature_bound(gap: float, slope: float, curvature: float, radius: float) -> None:
    found = curvature_bound(np.array([-gap]), np.array([slope]), curvature)
    assert found[0] == pytest.approx(radius, abs=1e-6)


def test_omega_bound_with_a_row_an_image() -> None:
    """By hand: min(0.2, (1 - 0.5)/2) and min(0.1, (0.5 - 0.1)/2); NaN claims nothing."""
    radii, ends = omega_bound(
        np.array([-1.0, -0.5, 1.0]),
        np.array([2.0, 2.0, 1.0]),
        epsilons=(0.1, 0.2),
        omegas=np.array([[0.2, 0.5], [0.1, np.nan], [np.nan, np.nan]]),
    )
    assert radii.tolist() == pytest.approx([0.2, 0.1, 0])
    assert ends.tolist() == [True, False, False]


def test_vanishing_share() -> None:
    assert vanishing_share(np.array([0.0, 1e-13, 1e-3, 1.0])) == 0.5
