"""Every relaxation against an independent evaluation of its function in high precision."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robcert.certify.verification.relaxations import RELAXATIONS, Lines, Relaxation, relaxation
from robcert.certify.verification.relaxations.curve import Curve
from robcert.certify.verification.relaxations.piecewise_linear import interpolation

PRECISION = 300  # bits
Reference = Callable[[mpmath.mpf], mpmath.mpf]


@dataclass(frozen=True)
class Case:
    """A relaxation and its function: where it is defined, and points where it bends."""

    relaxation: Relaxation
    reference: Reference
    start: float = -math.inf
    special: tuple[float, ...] = (0.0,)


def _where_positive(x: mpmath.mpf, other: Callable[[], mpmath.mpf]) -> mpmath.mpf:
    return x if x > 0 else other()


def _gelu(x: mpmath.mpf) -> mpmath.mpf:
    if x < -(10**6):  # e^(-x^2 / 2) / sqrt(2 pi), the leading term
        return -mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def _logistic(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-x))


def _gelu_tanh(x: mpmath.mpf) -> mpmath.mpf:
    inner = mpmath.sqrt(8 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)
    return x * _logistic(inner)


def _log1p_exp(x: mpmath.mpf) -> mpmath.mpf:
    return max(x, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(x)))


def _mish(x: mpmath.mpf) -> mpmath.mpf:
    tail = mpmath.exp(x)
    top = tail * (tail + 2)
    return x * top / (top + 2)


def _clamp(x: mpmath.mpf, low: float, high: float) -> mpmath.mpf:
    return min(max(x, mpmath.mpf(low)), mpmath.mpf(high))


def _interpolated(x: mpmath.mpf) -> mpmath.mpf:
    """Through (-1, 0.3), (0.1, -0.7) and (2, 1.1), slopes -0.5 and 0.2 outside."""
    points = [(mpmath.mpf(a), mpmath.mpf(b)) for a, b in ((-1.0, 0.3), (0.1, -0.7), (2.0, 1.1))]
    if x <= points[0][0]:
        return points[0][1] - (x - points[0][0]) / 2
    for (left, low), (right, high) in itertools.pairwise(points):
        if x <= right:
            return low + (high - low) / (right - left) * (x - left)
    return points[2][1] + mpmath.mpf(0.2) * (x - points[2][0])


def _elu(alpha: float, gamma: float = 1.0) -> Reference:
    factor = mpmath.mpf(alpha)
    return lambda x: mpmath.mpf(gamma) * _where_positive(x, lambda: factor * mpmath.expm1(x))


def _round(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.nint(x)


SELU = (1.67326319217681884765625, 1.05070102214813232421875)
CASES: dict[str, Case] = {
    "relu": Case(relaxation("relu"), lambda x: max(x, mpmath.mpf(0))),
    "leaky_relu": Case(
        relaxation("leaky_relu", slope=0.3),
        lambda x: _where_positive(x, lambda: mpmath.mpf(0.3) * x),
    ),
    "steep leaky_relu": Case(
        relaxation("leaky_relu", slope=1.7),
        lambda x: _where_positive(x, lambda: mpmath.mpf(1.7) * x),
    ),
    "abs": Case(relaxation("abs"), abs),
    "clip": Case(
        relaxation("clip", low=-0.3, high=1.1), lambda x: _clamp(x, -0.3, 1.1), special=(-0.3, 1.1)
    ),
    "clip below": Case(
        relaxation("clip", low=0.7), lambda x: max(x, mpmath.mpf(0.7)), special=(0.7,)
    ),
    "clip above": Case(
        relaxation("clip", high=0.7), lambda x: min(x, mpmath.mpf(0.7)), special=(0.7,)
    ),
    "hardtanh": Case(relaxation("hardtanh"), lambda x: _clamp(x, -1, 1), special=(-1.0, 1.0)),
    "hardsigmoid": Case(
        relaxation("hardsigmoid", alpha=0.17, beta=0.4),
        lambda x: _clamp(mpmath.mpf(0.17) * x + mpmath.mpf(0.4), 0, 1),
        special=(-0.4 / 0.17, 0.6 / 0.17),
    ),
    "interpolation": Case(
        interpolation((-1.0, 0.1, 2.0), (0.3, -0.7, 1.1), (-0.5, 0.2)),
        _interpolated,
        special=(-1.0, 0.1, 2.0),
    ),
    "thresholded_relu": Case(
        relaxation("thresholded_relu", threshold=0.6),
        lambda x: x if x > mpmath.mpf(0.6) else mpmath.mpf(0),
        special=(0.6,),
    ),
    "shrink": Case(
        relaxation("shrink", bias=0.3, threshold=0.8),
        lambda x: mpmath.mpf(0) if abs(x) <= 0.8 else x - mpmath.sign(x) * mpmath.mpf(0.3),
        special=(-0.8, 0.8),
    ),
    "sign": Case(relaxation("sign"), mpmath.sign),
    "greater": Case(
        relaxation("greater", threshold=0.5), lambda x: mpmath.mpf(int(x > 0.5)), special=(0.5,)
    ),
    "greater_or_equal": Case(
        relaxation("greater_or_equal", threshold=0.5),
        lambda x: mpmath.mpf(int(x >= 0.5)),
        special=(0.5,),
    ),
    "floor": Case(relaxation("floor"), mpmath.floor, special=(-1.0, 0.0, 3.0)),
    "ceil": Case(relaxation("ceil"), mpmath.ceil, special=(-1.0, 0.0, 3.0)),
    "round": Case(relaxation("round"), _round, special=(-1.5, 0.5, 2.5)),
    "sigmoid": Case(relaxation("sigmoid"), _logistic),
    "log_sigmoid": Case(relaxation("log_sigmoid"), lambda x: -_log1p_exp(-x)),
    "tanh": Case(relaxation("tanh"), mpmath.tanh),
    "erf": Case(relaxation("erf"), mpmath.erf),
    "atan": Case(relaxation("atan"), mpmath.atan),
    "softsign": Case(relaxation("softsign"), lambda x: x / (1 + abs(x))),
    "asinh": Case(relaxation("asinh"), mpmath.asinh),
    "sinh": Case(relaxation("sinh"), mpmath.sinh),
    "cosh": Case(relaxation("cosh"), mpmath.cosh),
    "softplus": Case(
        relaxation("softplus", beta=1.3),
        lambda x: _log1p_exp(mpmath.mpf(1.3) * x) / mpmath.mpf(1.3),
    ),
    "exp": Case(relaxation("exp"), mpmath.exp),
    "log": Case(relaxation("log"), mpmath.log, start=1e-300, special=(1.0,)),
    "sqrt": Case(relaxation("sqrt"), mpmath.sqrt, start=0.0, special=(0.0, 1.0)),
    "rsqrt": Case(relaxation("rsqrt"), lambda x: 1 / mpmath.sqrt(x), start=1e-300, special=(1.0,)),
    "reciprocal": Case(relaxation("reciprocal"), lambda x: 1 / x, start=1e-300, special=(1.0,)),
    "square": Case(relaxation("square"), lambda x: x * x),
    "cube": Case(relaxation("pow", exponent=3), lambda x: x**3),
    "fourth power": Case(relaxation("pow", exponent=4), lambda x: x**4),
    "inverse square": Case(
        relaxation("pow", exponent=-2), lambda x: x**-2, start=1e-300, special=(1.0,)
    ),
    "pow 2.6": Case(
        relaxation("pow", exponent=2.6),
        lambda x: x ** mpmath.mpf(2.6) if x else mpmath.mpf(0),
        start=0.0,
        special=(0.0, 1.0),
    ),
    "pow 0.3": Case(
        relaxation("pow", exponent=0.3),
        lambda x: x ** mpmath.mpf(0.3) if x else mpmath.mpf(0),
        start=0.0,
        special=(0.0, 1.0),
    ),
    "pow -1.4": Case(
        relaxation("pow", exponent=-1.4),
        lambda x: x ** mpmath.mpf(-1.4),
        start=1e-300,
        special=(1.0,),
    ),
    "gelu": Case(relaxation("gelu"), _gelu, special=(-math.sqrt(2), -0.7518, 0.0, math.sqrt(2))),
    "gelu_tanh": Case(
        relaxation("gelu_tanh"), _gelu_tanh, special=(-1.4185, -0.75246, 0.0, 1.4185)
    ),
    "silu": Case(
        relaxation("silu", alpha=1.7),
        lambda x: x * _logistic(mpmath.mpf(1.7) * x),
        special=(-2.39936 / 1.7, -1.27846 / 1.7, 0.0, 2.39936 / 1.7),
    ),
    "mish": Case(relaxation("mish"), _mish, special=(-2.25638, -1.19243, 0.0, 1.49057)),
    "hardswish": Case(
        relaxation("hardswish"), lambda x: x * _clamp(x + 3, 0, 6) / 6, special=(-3.0, -1.5, 3.0)
    ),
    "elu": Case(relaxation("elu", alpha=0.6), _elu(0.6)),
    "steep elu": Case(relaxation("elu", alpha=2.2), _elu(2.2)),
    "falling elu": Case(relaxation("elu", alpha=-0.8), _elu(-0.8)),
    "celu": Case(
        relaxation("celu", alpha=1.6),
        lambda x: _where_positive(x, lambda: mpmath.mpf(1.6) * mpmath.expm1(x / mpmath.mpf(1.6))),
    ),
    "selu": Case(relaxation("selu"), _elu(*SELU)),
    "sin": Case(relaxation("sin"), mpmath.sin, special=(0.0, math.pi / 2, math.pi, -5.0)),
    "cos": Case(relaxation("cos"), mpmath.cos, special=(0.0, math.pi / 2, math.pi, -5.0)),
}


def test_every_relaxation_has_a_case() -> None:
    assert set(RELAXATIONS) <= {case.relaxation.name for case in CASES.values()}


def intervals(case: Case, count: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Intervals of all sizes, around 0, the special points and far from both."""
    generator = np.random.default_rng(seed)
    centre = generator.choice(np.array(case.special), count)
    scale = 10 ** generator.uniform(-8, 2, count)
    centre = centre + generator.normal(size=count) * scale * (generator.random(count) < 0.7)
    width = np.abs(generator.normal(size=count)) * 10 ** generator.uniform(-10, 2, count)
    width[generator.random(count) < 0.1] = 0
    low, high = centre - width * generator.random(count), centre + width
    far = generator.random(count) < 0.1
    low = np.where(far, -(10 ** generator.uniform(2, 30, count)), low)
    far = generator.random(count) < 0.1
    high = np.where(far, 10 ** generator.uniform(2, 30, count), high)
    special = generator.random(count) < 0.1
    low = np.where(special, generator.choice(np.array(case.special), count), low)
    lower, upper = torch.tensor(low).to(dtype), torch.tensor(high).to(dtype)
    start = torch.finfo(dtype).tiny if case.start > 0 else case.start
    lower = torch.minimum(lower, upper).clamp_min(start)
    return lower, torch.maximum(upper, lower)


def grid(low: Tensor, high: Tensor, points: int) -> Tensor:
    """Points of each interval in float64, ends included: ``(points, n)``."""
    low, high = low.double(), high.double()
    share = torch.linspace(0, 1, points, dtype=torch.float64)[:, None]
    return (low + share * (high - low)).clamp(low, high)


def gaps(case: Case, lines: Lines, x: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of the function, in float64, to both lines."""
    value = case.relaxation.value(x)
    low = value - (lines.lower_slope.double() * x + lines.lower_offset.double())
    return low, lines.upper_slope.double() * x + lines.upper_offset.double() - value


def closest(case: Case, lines: Lines, lower: Tensor, upper: Tensor) -> Tensor:
    """Points at which the lines come closest: by a grid, refined once: ``(k, n)``."""
    coarse = grid(lower, upper, 129)
    step = (upper.double() - lower.double()) / 128
    found = [coarse[0], coarse[-1], coarse[64]]
    for side in gaps(case, lines, coarse):
        centre = coarse.gather(0, side.nan_to_num(math.inf).argmin(0)[None])[0]
        left, right = (centre - step).maximum(coarse[0]), (centre + step).minimum(coarse[-1])
        fine = grid(left, right, 257)
        nearest = [distance.nan_to_num(math.inf).argmin(0) for distance in gaps(case, lines, fine)]
        found += [fine.gather(0, index[None])[0] for index in nearest]
    found += [
        torch.full_like(coarse[0], bend).clamp(lower.double(), upper.double())
        for bend in case.special
    ]
    return torch.stack(found)


def assert_exactly_between(case: Case, lines: Lines, x: Tensor) -> None:
    """The stored numbers hold in exact arithmetic at the points ``x (k, n)``."""
    columns = zip(
        lines.lower_slope.tolist(),
        lines.lower_offset.tolist(),
        lines.upper_slope.tolist(),
        lines.upper_offset.tolist(),
        x.T.tolist(),
        strict=True,
    )
    with mpmath.workprec(PRECISION):
        for lower_slope, lower_offset, upper_slope, upper_offset, points in columns:
            for point in points:
                exact = mpmath.mpf(point)
                value = case.reference(exact)
                below = mpmath.mpf(lower_slope) * exact + mpmath.mpf(lower_offset)
                above = mpmath.mpf(upper_slope) * exact + mpmath.mpf(upper_offset)
                assert below <= value, (point, lower_slope, lower_offset)
                assert above >= value, (point, upper_slope, upper_offset)


def tangents(choice: float | None, like: Tensor) -> Tensor | None:
    return None if choice is None else torch.full_like(like, choice)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lines_hold_in_exact_arithmetic(name: str, dtype: torch.dtype) -> None:
    case = CASES[name]
    for seed, choice in enumerate((None, 0.0, 0.37, 1.0)):
        lower, upper = intervals(case, 60 if choice is None else 15, seed, dtype)
        share = tangents(choice, lower)
        lines = case.relaxation.lines(lower, upper, share, upper_tangent=share)
        assert_exactly_between(case, lines, closest(case, lines, lower, upper))


@pytest.mark.parametrize("name", CASES)
def test_100_000_random_points_are_between_the_lines(name: str) -> None:
    # In float64: each of the three terms is wrong by at most 2e-14 of its size.
    case = CASES[name]
    generator = torch.Generator().manual_seed(1)
    for dtype in (torch.float32, torch.float64):
        lower, upper = intervals(case, 1000, 7, dtype)
        share = torch.rand(1000, generator=generator).to(dtype)
        for tangent in (None, share):
            lines = case.relaxation.lines(lower, upper, tangent, upper_tangent=tangent)
            assert not any(part.isnan().any() for part in parts(lines))
            part = torch.rand((25, 1000), generator=generator, dtype=torch.float64)
            low, high = lower.double(), upper.double()
            x = (low + part * (high - low)).clamp(low, high)
            size = case.relaxation.value(x).abs() + 1e-290
            for slope, offset, sign in (
                (lines.lower_slope, lines.lower_offset, 1),
                (lines.upper_slope, lines.upper_offset, -1),
            ):
                gap = sign * (case.relaxation.value(x) - (slope.double() * x + offset.double()))
                allowed = 2e-14 * (size + (slope.double() * x).abs() + offset.double().abs())
                assert ((gap >= -allowed) | offset.isinf() | size.isinf()).all()


def parts(lines: Lines) -> tuple[Tensor, ...]:
    return lines.lower_slope, lines.lower_offset, lines.upper_slope, lines.upper_offset


CURVES = [name for name, case in CASES.items() if type(case.relaxation) is Curve]


@pytest.mark.parametrize("name", CURVES)
def test_pieces_have_the_curvature_they_claim(name: str) -> None:
    case = CASES[name]
    assert isinstance(case.relaxation, Curve)
    distances = np.geomspace(1e-7, 20, 60)
    for piece in case.relaxation.pieces:
        start, stop = float(piece.start), float(piece.stop)
        ends = [end for end in (start, stop) if math.isfinite(end)] or [0.0]
        points = [
            end + sign * distance for end in ends for sign in (-1, 1) for distance in distances
        ]
        with mpmath.workprec(3000):
            for point in points:
                x = mpmath.mpf(point)
                step = abs(x) * mpmath.mpf(2) ** -200
                if start < x - step and x + step < stop and x > case.start:
                    middle = 2 * case.reference(x)
                    bend = case.reference(x - step) - middle + case.reference(x + step)
                    assert mpmath.sign(bend) in (piece.curvature, 0), point


@pytest.mark.parametrize("name", CURVES)
def test_errors_of_values_are_a_quarter_of_their_bound(name: str) -> None:
    function = CASES[name].relaxation
    assert isinstance(function, Curve)
    generator = np.random.default_rng(0)
    x = torch.tensor(generator.normal(size=300) * 10 ** generator.uniform(-12, 2.5, 300))
    x = x.abs() if CASES[name].start >= 0 else x
    low, high = function.range(x, x)
    with mpmath.workprec(PRECISION):
        for point, least, value, most in zip(
            x.tolist(), low.tolist(), function.value(x).tolist(), high.tolist(), strict=True
        ):
            allowed = max(value - least, most - value) / 4
            error = abs(CASES[name].reference(mpmath.mpf(point)) - value)
            assert error <= allowed or least == most or math.isinf(value)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_range_encloses_the_exact_values(name: str, dtype: torch.dtype) -> None:
    case = CASES[name]
    lower, upper = intervals(case, 60, 3, dtype)
    low, high = case.relaxation.range(lower, upper)
    flat = Lines(torch.zeros_like(low), low, torch.zeros_like(low), high)
    assert_exactly_between(case, flat, closest(case, flat, lower, upper))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_interval(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    start = 2.0**-126 if case.start > 0 else max(case.start, -(2.0**100))
    ends = st.floats(start, 2.0**100, width=32) | st.floats(max(start, -8), 8, width=32)
    low, high = sorted((data.draw(ends), data.draw(ends)))
    share = data.draw(st.none() | st.floats(0, 1, width=32))
    dtype = data.draw(st.sampled_from((torch.float32, torch.float64)))
    lower, upper = torch.tensor([low], dtype=dtype), torch.tensor([high], dtype=dtype)
    tangent = tangents(share, lower)
    lines = case.relaxation.lines(lower, upper, tangent, upper_tangent=tangent)
    assert not any(part.isnan().any() for part in parts(lines))
    assert_exactly_between(case, lines, closest(case, lines, lower, upper))


ALGEBRAIC = [
    *("relu", "leaky_relu", "steep leaky_relu", "abs", "clip", "hardtanh", "hardsigmoid"),
    *("interpolation", "thresholded_relu", "shrink", "sign", "greater", "floor", "ceil", "round"),
    *("softsign", "atan", "log", "sqrt", "rsqrt", "reciprocal", "square", "inverse square"),
    *("pow 0.3", "pow -1.4", "hardswish"),
]
"""Cases whose reference is quick for numbers of any size."""


@pytest.mark.parametrize("name", ALGEBRAIC)
def test_doubles_of_any_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    generator = np.random.default_rng(11)
    size = 10 ** generator.uniform(-323, 308, (2, 60))
    ends = np.sort(np.sign(generator.normal(size=(2, 60))) * size, 0)
    ends = np.sort(np.maximum(np.abs(ends), 1e-305), 0) if case.start >= 0 else ends
    lower, upper = torch.tensor(ends)
    lines = case.relaxation.lines(lower, upper)
    inner = [torch.full_like(lower, x).clamp(lower, upper) for x in (0.0, *case.special, 1e-300)]
    points = torch.stack([lower, upper, (lower / 2 + upper / 2).clamp(lower, upper), *inner])
    monkeypatch.setitem(globals(), "PRECISION", 2600)
    assert_exactly_between(case, lines, points)


@pytest.mark.parametrize("name", CASES)
def test_infinite_ends_give_constants_without_nan(name: str) -> None:
    case = CASES[name]
    least = 2.0**-126 if case.start > 0 else case.start
    left = torch.tensor([0.5, least])
    right = torch.full_like(left, math.inf)
    lines = case.relaxation.lines(left, right)
    assert not any(part.isnan().any() for part in parts(lines))
    x = torch.tensor([[0.7, 0.7], [1.0, 2.0], [1e6, 1e6], [1e30, 1e30]], dtype=torch.float64)
    assert_exactly_between(case, lines, x)
    low, high = case.relaxation.range(left, right)
    assert not low.isnan().any()
    assert not high.isnan().any()


@pytest.mark.parametrize("name", CASES)
def test_single_points_are_met(name: str) -> None:
    case = CASES[name]
    x = torch.tensor([0.25, 0.7, 1.3, 2.0, 5.0], dtype=torch.float64)
    lines = case.relaxation.lines(x, x)
    value = case.relaxation.value(x)
    for slope, offset in (
        (lines.lower_slope, lines.lower_offset),
        (lines.upper_slope, lines.upper_offset),
    ):
        torch.testing.assert_close(slope * x + offset, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_any_shape_and_no_elements(name: str) -> None:
    case = CASES[name]
    x = torch.full((2, 0, 3), 0.5)
    assert case.relaxation.lines(x, x).lower_slope.shape == x.shape
    x = torch.full((2, 1, 3), 0.5)
    assert case.relaxation.lines(x, x + 1).upper_offset.shape == x.shape
    assert case.relaxation.lines(x[0, 0, 0], x[0, 0, 0] + 1).upper_offset.shape == ()
