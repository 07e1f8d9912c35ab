"""Bounds of every operator contain what the function gives, in float64 and in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from operator_cases import CASES, OperatorCase

from robcert.certify.core import Ball, Norm
from robcert.certify.verification import Arithmetic, Method
from robcert.certify.verification.bounds import Bounds, Region, Rounding, propagate
from robcert.certify.verification.bounds.slopes import Choice, Effort, Units, evaluate, optimise
from robcert.certify.verification.network import Network, traced, translated
from robcert.certify.verification.relaxations import OutsideDomainError

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 10_000
RADII = {Norm.LINF: (1e-6, 0.05, 0.6), Norm.L2: (0.2,), Norm.L1: (0.7,)}
REFERENCE = 1e-12
"""Relative error of the function in float64."""


def sampled(case: OperatorCase, x: Tensor, ball: Ball, count: int) -> Tensor:
    """Images ``(count, *shape)`` of the ball and of [0, 1], its corners among them; float64."""
    draws = torch.Generator().manual_seed(4)
    change = torch.randn(count, *case.shape, generator=draws, dtype=torch.float64)
    if ball.norm is Norm.LINF:
        change[: count // 2] = change[: count // 2].sign()
        change[count // 2 :] = change[count // 2 :].clamp(-1, 1)
    else:
        sparse = torch.rand(count, *case.shape, generator=draws) < 0.1
        change[: count // 2] *= sparse[: count // 2]
        size = ball.norm.of(change.flatten(1)).clamp_min(1e-9)
        change = change / size.view(-1, *[1] * len(case.shape))
    return (x.double() + ball.epsilon * change).clamp(0, 1)


def image(case: OperatorCase) -> Tensor:
    draws = torch.Generator().manual_seed(9)
    return torch.rand(case.shape, generator=draws)


def balls() -> list[Ball]:
    return [Ball(norm, radius) for norm, radii in RADII.items() for radius in radii]


def bounds_of(
    network: Network, x: Tensor, ball: Ball, arithmetic: Arithmetic, method: Method
) -> Bounds:
    rounding = Rounding(arithmetic, torch.float64)
    return propagate(network, Region.of_ball(x, ball), rounding, method=method)


def linear_bounds(bounds: Bounds, rows: Tensor) -> Tensor:
    """The best of the default slopes and of random ones."""
    start = bounds.network.output
    shaped = rows.view(len(rows), *bounds.network.nodes[start].shape)
    found = bounds.minima(start, shaped)
    units = Units.of(bounds)
    if units.count:
        draws = torch.Generator().manual_seed(1)
        slopes = torch.rand(len(rows), units.count, generator=draws, dtype=torch.float64)
        with torch.no_grad():
            found = torch.maximum(found, evaluate(units, shaped, Choice(slopes)))
    return found


@pytest.mark.parametrize("ball", balls(), ids=lambda ball: f"{ball.norm}-{ball.epsilon}")
@pytest.mark.parametrize("name", list(CASES))
def test_bounds_contain_all_outputs(name: str, ball: Ball) -> None:
    case = CASES[name]
    network = translated(*traced(case.function, case.shape))
    x = image(case)
    points = sampled(case, x, ball, SAMPLES // len(balls()) * 2)
    rows = torch.randn(
        12, network.nodes[network.output].size, generator=torch.Generator().manual_seed(2)
    ).double()
    with torch.no_grad():
        outputs = {Arithmetic.REAL: case.function(points)}
        if case.smooth:
            outputs[Arithmetic.FLOAT32] = case.function(points.float()).double()
    for arithmetic, values in outputs.items():
        # a point may leave the ball when it is rounded to float32
        held = ball if arithmetic is Arithmetic.REAL else Ball(ball.norm, ball.epsilon + 3e-6)
        try:
            intervals = bounds_of(network, x, held, arithmetic, Method.INTERVAL)
            linear = bounds_of(network, x, held, arithmetic, Method.CROWN)
        except OutsideDomainError:  # in float32 the variance may come out negative
            assert arithmetic is Arithmetic.FLOAT32
            assert name in {"layer norm", "group norm"}
            assert ball.epsilon > 0.1
            continue
        allowed = REFERENCE * (1 + values.abs())
        for bounds in (intervals, linear):
            at = network.output
            assert (values >= bounds.lower[at].flatten() - allowed).all()
            assert (values <= bounds.upper[at].flatten() + allowed).all()
        least = linear_bounds(linear, rows)
        smallest = (values @ rows.t()).amin(0)
        slack = REFERENCE * (values.abs() @ rows.abs().t()).amax(0)
        assert (least <= smallest + slack).all()


@pytest.mark.parametrize("name", ["shared arguments", "conv, batch norm, relu", "max pool"])
def test_every_operation_is_within_its_bounds(name: str) -> None:
    case = CASES[name]
    network = translated(*traced(case.function, case.shape))
    ball = Ball(Norm.LINF, 0.3)
    x = image(case)
    values = network.values(sampled(case, x, ball, 2000))
    bounds = bounds_of(network, x, ball, Arithmetic.REAL, Method.CROWN)
    for low, high, value in zip(bounds.lower, bounds.upper, values, strict=True):
        assert (value[:, 0] >= low[0] - 1e-9).all()
        assert (value[:, 0] <= high[0] + 1e-9).all()


@pytest.mark.parametrize("method", [Method.INTERVAL, Method.CROWN])
@pytest.mark.parametrize("name", ["attention", "conv, batch norm, relu", "gelu", "softmax"])
def test_float32_bounds_contain_those_of_real_arithmetic(name: str, method: Method) -> None:
    case = CASES[name]
    network = translated(*traced(case.function, case.shape))
    ball = Ball(Norm.LINF, 0.1)
    real, single = (
        bounds_of(network, image(case), ball, arithmetic, method)
        for arithmetic in (Arithmetic.REAL, Arithmetic.FLOAT32)
    )
    at = network.output
    assert (single.lower[at] <= real.lower[at]).all()
    assert (single.upper[at] >= real.upper[at]).all()


@pytest.mark.parametrize("name", ["relu", "max pool", "conv, batch norm, relu", "prelu"])
def test_bounds_do_not_rise_with_the_radius(name: str) -> None:
    case = CASES[name]
    network = translated(*traced(case.function, case.shape))
    size = network.nodes[network.output].size
    rows = torch.randn(6, size, generator=torch.Generator().manual_seed(2)).double()
    before = None
    for radius in (0.0, 0.01, 0.03, 0.1, 0.2, 0.5):
        ball = Ball(Norm.LINF, radius)
        bounds = bounds_of(network, image(case), ball, Arithmetic.FLOAT32, Method.INTERVAL)
        found = bounds.lower[network.output]
        assert before is None or (found <= before).all()
        before = found
        assert linear_bounds(bounds, rows).isfinite().all()


def test_optimised_slopes_are_never_worse_and_never_too_good() -> None:
    case = CASES["conv, batch norm, relu"]
    network = translated(*traced(case.function, case.shape))
    ball = Ball(Norm.LINF, 0.3)
    bounds = bounds_of(network, image(case), ball, Arithmetic.REAL, Method.CROWN)
    start, units = network.output, Units.of(bounds)
    rows = torch.randn(6, *network.nodes[start].shape).double()
    first = bounds.minima(start, rows)
    target, initial = torch.full((6,), torch.inf), Choice(units.default_slopes(6))
    best = optimise(units, rows, initial, target=target, effort=Effort(30))
    outputs = case.function(sampled(case, image(case), ball, 5000))
    smallest = (outputs @ rows.flatten(1).t()).amin(0)
    assert (best.bound >= first - 1e-12).all()
    assert (best.bound <= smallest + 1e-9).all()
    assert float(best.bound.sum()) > float(first.sum())
    again = evaluate(units, rows, Choice(best.slopes))
    assert torch.allclose(again.detach(), best.bound)
