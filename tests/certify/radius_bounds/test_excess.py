"""Excess over the steepest tangent: closed forms, its place below omega, and its radii."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from bounds_runs import SETTINGS, Run, curved, images, linear, run_lengths
from hypothesis import given, settings
from hypothesis import strategies as st
from known_functions import flat_batch, quadratic, two_logits

from robcert.certify.core import Norm
from robcert.certify.local_linearity.deviation import tangent
from robcert.certify.numerics.losses import Loss
from robcert.certify.radius_bounds.excess import ExcessSearch, excess, largest_excesses
from robcert.certify.radius_bounds.radii import omega_bound
from robcert.certify.radius_bounds.residuals import ResidualSearch, largest_residuals
from robcert.certify.radius_bounds.settings import Margin

if TYPE_CHECKING:
    from pathlib import Path

    from known_functions import FlatFunction

GRID = (0.1, 0.2, 0.4)


def search(norm: Norm = Norm.L2, steps: int = 10) -> ExcessSearch:
    return ExcessSearch(norm, GRID, Loss.MARGIN, steps, rounds=1, seed=0)


def excesses(function: FlatFunction, points: torch.Tensor, norm: Norm = Norm.L2) -> np.ndarray:
    batch = flat_batch(points)
    tangents = tangent(two_logits(function, points.shape[1]), batch.x, batch.y, Loss.MARGIN)
    return np.asarray(largest_excesses(tangents, batch, search(norm)).found)


@pytest.mark.parametrize("norm", Norm)
def test_a_linear_loss_never_exceeds_its_steepest_tangent(norm: Norm) -> None:
    weight = torch.tensor([3.0, -4.0, 0.5])
    points = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    assert excesses(lambda x: x @ weight - 1, points, norm) == pytest.approx(0, abs=1e-5)


def test_a_paraboloid_exceeds_it_by_half_the_square() -> None:
    """F8: ½‖x + v‖² - ½‖x‖² - ‖v‖‖x‖ is at most ½‖v‖², as omega, along x."""
    points = torch.rand(6, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    found = excesses(curved, points)
    assert found == pytest.approx(np.tile(0.5 * np.square(GRID), (6, 1)), rel=1e-3)


def test_rho_is_below_omega_where_the_curvature_lies_across_the_gradient() -> None:
    """½ a v₂² beside the slope g along x₁: omega is ½ a eps².

    With t the part of eps along x₂ the excess is ½ a t² + g (√(eps² - t²) - eps). The steepest
    direction is a ridge here: the gradient on it has no part along x₂.
    """
    slope, bend = 0.1, 4.0
    function = quadratic(torch.diag(torch.tensor([0.0, bend])), torch.tensor([slope, 0.0]), -1.0)
    points = torch.tensor([[0.5, 0.0]])
    found = excesses(function, points)[0]
    across = np.linspace(0, 1, 100_001)
    for epsilon, value in zip(GRID, found, strict=True):
        t = across * epsilon
        exact = (0.5 * bend * t**2 + slope * (np.sqrt(epsilon**2 - t**2) - epsilon)).max()
        assert value <= exact + 1e-6
        assert value == pytest.approx(exact, rel=2e-2, abs=1e-5)
        assert value < 0.5 * bend * epsilon**2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(list(Norm)))
def test_rho_is_at_most_omega_and_bounds_the_loss(seed: int, norm: Norm) -> None:
    """At any v: excess ≤ residual, by the definition of the dual norm; both bound the loss."""
    draws = torch.Generator().manual_seed(seed)
    matrix = torch.randn(5, 5, generator=draws, dtype=torch.float64)
    function = quadratic(matrix + matrix.T, torch.randn(5, generator=draws, dtype=torch.float64))
    batch = flat_batch(torch.rand(4, 5, generator=draws, dtype=torch.float64))
    tangents = tangent(two_logits(function, 5), batch.x, batch.y, Loss.MARGIN)
    delta = 0.3 * torch.randn(batch.x.shape, generator=draws, dtype=torch.float64)
    over, residual = excess(tangents, norm, delta), tangents.residual(delta)
    assert (over <= residual + 1e-9).all()
    reach = norm.of(delta) * norm.dual.of(tangents.gradient)
    assert (tangents.change(delta) <= reach + over.clamp_min(0) + 1e-9).all()


@pytest.mark.parametrize("norm", Norm)
def test_what_the_searches_find_keeps_that_order(norm: Norm) -> None:
    points = torch.rand(8, 4, generator=torch.Generator().manual_seed(1))
    matrix = torch.diag(torch.tensor([3.0, -2.0, 1.0, 0.5]))
    batch = flat_batch(points)
    model = two_logits(quadratic(matrix, torch.ones(4)), 4)
    tangents = tangent(model, batch.x, batch.y, Loss.MARGIN)
    rho = largest_excesses(tangents, batch, search(norm, 20))
    omega = largest_residuals(
        tangents, batch, ResidualSearch(norm, GRID, 20, 0, repeats=True)
    ).found
    assert (rho.found <= omega * (1 + 1e-3) + 1e-5).all()
    hurried = largest_residuals(tangents, batch, ResidualSearch(norm, GRID, 1, 0), rho).found
    assert (rho.found <= hurried).all()


@given(st.floats(0.5, 200), st.floats(0.01, 2))
def test_omega_of_probability_margins_caps_its_own_radius(steepest: float, epsilon: float) -> None:
    """ω(ε) ≥ ε G* - 2 at the steepest image (v against its gradient, losses in [-1, 1]).

    So with the largest gap, 1, and the smallest slope, 0, no radius exceeds 3 / G*.
    """
    grid = tuple(float(point) for point in epsilon * np.geomspace(1 / 64, 64, 400))
    least = np.maximum(steepest * np.array(grid) - 2, 0)
    radius = omega_bound(np.array([-1.0]), np.array([0.0]), epsilons=grid, omegas=least)[0][0]
    assert radius <= 3 / steepest * (1 + 1e-9)


def test_published_omegas_contradict_the_published_gradients() -> None:
    """Table B.3 of Finlay & Oberman 2019: ω(ε) < ε max‖∇ℓ‖ - 2 in 11 of 12 rows."""
    table = (
        *((122.34, 1.80, 3.13), (11.96, 0.08, 0.32), (2.52, 0.02, 0.06), (10.82, 0.13, 0.35)),
        *((16.08, 0.11, 0.31), (107.13, 1.60, 1.40), (56.09, 1.31, 2.30), (4.43, 0.08, 0.50)),
        *((1.33, 0.02, 0.05), (17.51, 1.7e-2, 6.7e-2), (4.85, 5.5e-3, 2.2e-2)),
        (2.12, 3.4e-3, 2.1e-2),
    )
    wrong = [half < 0.5 * top - 2 or whole < top - 2 for top, half, whole in table]
    assert (sum(wrong), len(wrong)) == (11, 12)


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_rho_bound_of_a_linear_model_is_its_distance(tmp_path: Path, norm: Norm) -> None:
    """F2: rho = 0, so both rho-bounds are the distance, up to the end of the grid."""
    store, group = Run(tmp_path, linear(), images())(replace(SETTINGS, norm=norm))
    with store:
        pixels = images().pixels(np.arange(40)).flatten(1).numpy()
        dual = 5.0 if norm is Norm.L2 else 7.0
        exact = np.maximum(pixels @ np.array([3.0, -4.0]), 0) / dual
        end = group.attribute("epsilons")[-1]
        for name in ("rho_bound", "rho_bound_point", "rho_own_bound"):
            assert group.column(name) == pytest.approx(np.minimum(exact, end), abs=2e-5)
        assert (group.column("rho_censored") == (exact >= end)).all()


def test_rho_bound_of_a_paraboloid_keeps_below_its_distance(tmp_path: Path) -> None:
    """F8 with images apart from the sample: the fitted rho, and the image's own."""
    data = images(400)
    few = replace(SETTINGS, points=9)
    store, group = Run(tmp_path, two_logits(curved, 2), data)(few, indices=np.arange(0, 400, 10))
    with store:
        sampled = set(store.at(f"{group.path}/bounds-sample").column("index").tolist())
        assert 0 < len(sampled & set(range(0, 400, 10))) < 40
        truth = np.maximum(1 - run_lengths(data, 400)[::10], 0)
        end = group.attribute("epsilons")[-1]
        for name in ("rho_bound", "rho_own_bound"):
            radius = group.column(name)
            assert (radius <= np.minimum(truth, end) + 1e-3).all()
            near = (truth > 0.05) & (truth < 0.8)
            assert (radius[near] > 0.6 * truth[near]).all()


def test_margins_of_probabilities_climb_the_logits(tmp_path: Path) -> None:
    """A saturated softmax has no gradient; its logit margin leads over the boundary all the same.

    Logit margin 200 (x₁ - 0.5): the probability margin is ∓1 beyond 0.1 of the boundary, so within
    eps of an image at distance d < eps the loss rises by nearly 2.
    """
    model = two_logits(lambda x: 200 * (x[:, 0] - 0.5), 2)
    chosen = replace(SETTINGS, norm=Norm.LINF, margin=Margin.PROBABILITY)
    store, group = Run(tmp_path, model, images())(chosen)
    with store:
        first = images().pixels(np.arange(40)).flatten(1)[:, 0].numpy()
        own, radius = group.column("rho_own"), group.column("rho_own_bound")
    inside = (first > 0.2) & (first < 0.4)
    assert (own[inside, -2] > 1.9).all()
    assert (radius <= np.maximum(0.5 - first, 0) + 2e-3).all()
