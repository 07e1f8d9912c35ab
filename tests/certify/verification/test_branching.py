"""Branch and bound: hidden counterexamples, monotone answers, proofs that stay."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from robcert.certify.core import Ball, Norm
from robcert.certify.verification import Arithmetic, Decision, Method, Open, Prover
from robcert.certify.verification.bounds import propagate

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.verification.bounds import Bounds

SHAPE = (1, 2, 3)
CENTRE = torch.full(SHAPE, 0.5)


def bump(place: Tensor, width: float, margin: float) -> Callable[[Tensor], Tensor]:
    """Scores (margin - 2 margin * bump, 0); the bump is 1 at ``place``, 0 beyond ``width`` in l1.

    Its gradient is zero almost everywhere: relu(1 - sum |x_i - place_i| / width).
    """

    def scores(x: Tensor) -> Tensor:
        away = (x - place.to(x.dtype)).flatten(1)
        distance = (torch.relu(away) + torch.relu(-away)).sum(1, keepdim=True)
        height = torch.relu(1 - distance / width)
        return torch.cat([margin - 2 * margin * height, 0 * height], 1)

    return scores


def decided(prover: Prover, x: Tensor, ball: Ball, seconds: float, method: Method) -> Decision:
    return prover.decide(x, 0, ball, method=method, deadline=time.monotonic() + seconds)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("norm", list(Norm))
def test_a_cell_that_no_gradient_shows_is_never_overlooked(norm: Norm, method: Method) -> None:
    """The margin is negative in a cell of 1e-3 in l1, at one corner of the ball."""
    change = torch.tensor([0.2, -0.2, 0.2, 0.2, -0.2, -0.2]).view(SHAPE)
    if norm is not Norm.LINF:
        change = change * torch.tensor([1.0, 0, 0, 1.0, 0, 0]).view(SHAPE)
    place = CENTRE + change
    distance = float(norm.of(change.double().flatten()[None]))
    prover = Prover.of_function(bump(place, 1e-3, 0.1), SHAPE)
    for factor in (1.0, 1.001, 1.5):
        found = decided(prover, CENTRE, Ball(norm, distance * factor), 0.3, method)
        assert not found.proved
        if found.counterexample is not None:
            scores = bump(place, 1e-3, 0.1)(found.counterexample[None].double())
            assert float(scores[0, 0]) <= 0


@pytest.mark.parametrize("norm", list(Norm))
def test_the_ball_that_ends_before_the_cell_is_certified(norm: Norm) -> None:
    place = CENTRE.clone()
    place[0, 0, 0] += 0.2
    prover = Prover.of_function(bump(place, 1e-2, 0.1), SHAPE)
    assert decided(prover, CENTRE, Ball(norm, 0.15), 20.0, Method.AUTO).proved
    assert not decided(prover, CENTRE, Ball(norm, 0.2), 2.0, Method.AUTO).proved


def net(seed: int, width: int = 12) -> tuple[Prover, Tensor, int]:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Flatten(),
        nn.Linear(6, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 3),
    ).requires_grad_(requires_grad=False)
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
    return Prover.of_function(module, SHAPE), x, int(module(x[None]).argmax())


@pytest.mark.parametrize("method", [Method.INTERVAL, Method.CROWN, Method.ALPHA, Method.BRANCH])
@pytest.mark.parametrize("seed", range(3))
def test_no_radius_is_proved_above_one_that_is_not(seed: int, method: Method) -> None:
    """Not a theorem for linear bounds, but a rise would have to be explained."""
    prover, x, y = net(seed)
    answers = [
        prover.decide(x, y, Ball(Norm.LINF, r), method=method, deadline=time.monotonic() + 2).proved
        for r in (0.001, 0.01, 0.03, 0.06, 0.1, 0.15, 0.25, 0.4, 1.0)
    ]
    assert answers == sorted(answers, reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_stronger_methods_keep_what_weaker_ones_prove(seed: int) -> None:
    prover, x, y = net(seed)
    order = [Method.INTERVAL, Method.CROWN, Method.ALPHA, Method.BRANCH, Method.AUTO]
    for radius in (0.01, 0.05, 0.1, 0.2):
        proved = [
            prover.decide(
                x, y, Ball(Norm.LINF, radius), method=method, deadline=time.monotonic() + 5
            ).proved
            for method in order
        ]
        assert proved == sorted(proved)


def test_a_larger_budget_loses_no_proof() -> None:
    prover, x, y = net(7, width=16)
    for radius in (0.05, 0.1):
        answers = [decided_within(prover, x, y, radius, seconds) for seconds in (0.0, 0.05, 30.0)]
        assert answers == sorted(answers)


def decided_within(prover: Prover, x: Tensor, y: int, radius: float, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    return prover.decide(x, y, Ball(Norm.LINF, radius), deadline=deadline).proved


def test_without_time_nothing_is_proved_and_the_reason_is_given() -> None:
    prover, x, y = net(1)
    found = prover.decide(x, y, Ball(Norm.LINF, 0.3), deadline=time.monotonic() - 1)
    assert not found.proved
    assert found.reason is Open.TIME


def test_other_classes_than_the_models_own_are_not_certified() -> None:
    prover, x, y = net(2)
    for other in range(3):
        if other != y:
            found = prover.decide(x, other, Ball(Norm.LINF, 1e-6))
            assert not found.proved
            assert found.reason in (Open.REFUTED, Open.LOOSE)


@pytest.mark.parametrize("norm", list(Norm))
def test_the_largest_radius_is_one_that_is_proved(norm: Norm) -> None:
    prover, x, y = net(3)
    limit = {Norm.LINF: 0.3, Norm.L2: 0.6, Norm.L1: 1.0}[norm]
    found = prover.largest_radius(x, y, norm, limit=limit, deadline=time.monotonic() + 1.5)
    assert 0 < found.radius < limit
    assert prover.decide(x, y, Ball(norm, found.radius), deadline=time.monotonic() + 20).proved


def test_dead_units_and_cancelling_sums_are_decided() -> None:
    """Layers of zeros, units that never fire, and x - x."""

    def function(x: Tensor) -> Tensor:
        y = x.flatten(1)
        dead = torch.relu(y * 0 - 1)
        same = torch.relu(y) - y
        return torch.cat([dead.sum(1, keepdim=True) + 1, same.sum(1, keepdim=True)], 1)

    for arithmetic in Arithmetic:
        prover = Prover.of_function(function, SHAPE, arithmetic)
        for norm in Norm:
            assert prover.decide(CENTRE, 0, Ball(norm, 0.3)).proved
            assert not prover.decide(CENTRE, 1, Ball(norm, 0.3)).proved


def test_equal_scores_are_not_certified() -> None:
    def function(x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1, keepdim=True)
        return torch.cat([total, total], 1)

    for arithmetic in Arithmetic:
        prover = Prover.of_function(function, SHAPE, arithmetic)
        for y in (0, 1):
            assert not prover.decide(CENTRE, y, Ball(Norm.LINF, 1e-9)).proved


@pytest.mark.parametrize("radius", [1e-30, 1e-12, 1.0, 7.0, 1e6])
@pytest.mark.parametrize("norm", list(Norm))
def test_tiny_and_huge_radii_are_answered(norm: Norm, radius: float) -> None:
    prover, x, y = net(4)
    with torch.no_grad():
        corners = torch.stack([torch.zeros(SHAPE), torch.ones(SHAPE)]).double()
        classes = prover.network(corners).argmax(1)
    found = prover.decide(x, y, Ball(norm, radius), deadline=time.monotonic() + 3)
    assert math.isfinite(found.bound)
    if radius >= 7 and bool((classes != y).any()):
        assert not found.proved
    if radius <= 1e-12:
        assert found.proved


def test_branch_and_bound_goes_on_from_optimised_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    """CROWN's bounds of a statement are computed once; another statement gets its own."""
    asked: list[Method] = []

    def counted(*given: Any, method: Method, **more: Any) -> Bounds:
        asked.append(method)
        return propagate(*given, method=method, **more)

    monkeypatch.setattr("robcert.certify.verification.statement_task.propagate", counted)
    resumed = 0
    for seed in range(6):
        prover, x, y = net(seed)
        fresh = net(seed)[0]
        for radius in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
            ball = Ball(Norm.LINF, radius)
            before = prover.decide(x, y, ball, method=Method.ALPHA)
            asked.clear()
            found = prover.decide(x, y, ball, method=Method.BRANCH)
            again, open_before = list(asked), before.reason is Open.LOOSE and not before.proved
            asked.clear()
            alone = fresh.decide(x, y, ball, method=Method.BRANCH)
            assert found.proved == alone.proved
            assert (Method.CROWN in asked) or alone.method in (Method.INTERVAL, Method.CROWN_IBP)
            if open_before and before.method is Method.ALPHA:
                assert again == []
                resumed += 1
            other = Ball(Norm.LINF, radius * 1.01)
            asked.clear()
            prover.decide(x, y, other, method=Method.BRANCH)
            assert asked
    assert resumed >= 3
