"""Lines against closed forms: the hull's facets, tangents at the middle, tangent points."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from robcert.certify.errors import InvalidParameterError, RobcertError, UnsupportedOperatorError
from robcert.certify.verification.relaxations import (
    RELAXATIONS,
    InvalidIntervalError,
    Lines,
    OutsideDomainError,
    relaxation,
)


def exact(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def middle_gap(lines: Lines, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Heights of both lines at the middle."""
    middle = (lower + upper) / 2
    low = lines.lower_slope * middle + lines.lower_offset
    return low, lines.upper_slope * middle + lines.upper_offset


def test_unstable_relu() -> None:
    lower, upper = exact(-1, -3, -2, -5), exact(3, 1, 2, 0.25)
    lines = relaxation("relu").lines(lower, upper)
    assert lines.lower_slope.tolist() == [1, 0, 0, 0]
    assert lines.lower_offset.tolist() == [0, 0, 0, 0]
    slope = upper / (upper - lower)
    torch.testing.assert_close(lines.upper_slope, slope, rtol=1e-15, atol=0)
    torch.testing.assert_close(lines.upper_offset, -slope * lower, rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stable_relu_is_exact(dtype: torch.dtype) -> None:
    lower = torch.tensor([0.0, 0.3, -7.1, -0.1], dtype=dtype)
    upper = torch.tensor([0.7, 1e20, 0.0, -1e-30], dtype=dtype)
    lines = relaxation("relu").lines(lower, upper)
    for slope, offset in (
        (lines.lower_slope, lines.lower_offset),
        (lines.upper_slope, lines.upper_offset),
    ):
        assert slope.tolist() == [1, 1, 0, 0]
        assert offset.tolist() == [0, 0, 0, 0]


def test_lower_slope_of_a_relu_is_the_tangent() -> None:
    lower, upper = exact(-1, -1, -1, 0.5, -2), exact(2, 2, 2, 1, -1)
    alpha = exact(0, 0.3, 1, 0.3, 0.3)
    lines = relaxation("relu").lines(lower, upper, alpha)
    assert lines.lower_slope.tolist() == [0, 0.3, 1, 1, 0]
    assert lines.lower_offset.tolist() == [0, 0, 0, 0, 0]


def test_abs() -> None:
    lines = relaxation("abs").lines(exact(-1, -3, 1), exact(3, 1, 2))
    assert lines.lower_slope.tolist() == [1, -1, 1]
    assert lines.lower_offset.tolist() == [0, 0, 0]
    assert lines.upper_slope.tolist() == [0.5, -0.5, 1]
    assert lines.upper_offset.tolist() == [1.5, 1.5, 0]


def test_leaky_relu() -> None:
    lines = relaxation("leaky_relu", slope=0.25).lines(exact(-1, -3), exact(3, 1))
    assert lines.lower_slope.tolist() == [1, 0.25]
    assert lines.upper_slope.tolist() == [3.25 / 4, 1.75 / 4]
    torch.testing.assert_close(lines.upper_offset, exact(9 / 16, 9 / 16), rtol=1e-14, atol=0)


def test_clip_on_both_sides() -> None:
    # hull of clip to [-1, 1] on [-2, 3]: above through (-2, -1), (1, 1) and then flat
    lines = relaxation("clip", low=-1.0, high=1.0).lines(exact(-2), exact(3))
    torch.testing.assert_close(lines.upper_slope, exact(2 / 3), rtol=1e-15, atol=0)
    torch.testing.assert_close(lines.upper_offset, exact(1 / 3), rtol=1e-14, atol=0)
    torch.testing.assert_close(lines.lower_slope, exact(0.5), rtol=1e-15, atol=0)
    torch.testing.assert_close(lines.lower_offset, exact(-0.5), rtol=1e-14, atol=0)


def test_step_functions_know_their_side_of_the_jump() -> None:
    x = exact(0.5)
    assert relaxation("greater", threshold=0.5).range(x, x)[1].tolist() == [0]
    assert relaxation("greater_or_equal", threshold=0.5).range(x, x)[0].tolist() == [1]
    zero = exact(0)
    low, high = relaxation("sign").range(zero, zero)
    assert (low.tolist(), high.tolist()) == ([0], [0])


def test_rounding_follows_the_identity_on_wide_intervals() -> None:
    lines = relaxation("floor").lines(exact(-10.5, 0.2), exact(20.5, 0.9))
    assert lines.lower_slope.tolist() == [1, 0]
    assert lines.lower_offset.tolist() == [-1, 0]
    assert lines.upper_slope.tolist() == [1, 0]
    assert lines.upper_offset.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("exp", -3.0, 1.5),
        ("square", -1.0, 3.0),
        ("reciprocal", 0.2, 5.0),
        ("reciprocal", -4.0, -0.3),
        ("log", 0.1, 7.0),
        ("sqrt", 0.0, 4.0),
        ("softplus", -3.0, 2.0),
        ("sigmoid", 0.5, 4.0),
        ("tanh", -4.0, -0.1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_curves_of_one_curvature_get_tangent_and_secant(
    name: str, lower: float, upper: float, dtype: torch.dtype
) -> None:
    low, high = torch.tensor([lower], dtype=dtype), torch.tensor([upper], dtype=dtype)
    function = relaxation(name)
    lines = function.lines(low, high)
    heights = middle_gap(lines, low, high)
    at_middle = function.value((low + high) / 2)
    chord = (function.value(low) + function.value(high)) / 2
    expected = sorted((float(at_middle), float(chord)))
    tolerance = 1e-12 if dtype is torch.float64 else 1e-6
    for height, wanted in zip(heights, expected, strict=True):
        assert float(height) == pytest.approx(wanted, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("name", "lower", "upper"), [("sigmoid", -3, 7), ("tanh", -1, 2.5)])
def test_s_shape_touches_at_the_tangent_point(name: str, lower: float, upper: float) -> None:
    def value(x: float) -> float:
        return math.tanh(x) if name == "tanh" else 1 / (1 + math.exp(-x))

    def derivative(y: float) -> float:
        return 1 - y * y if name == "tanh" else y * (1 - y)

    middle = (lower + upper) / 2

    def over(d: float, end: float) -> float:
        return value(end) - value(d) - derivative(value(d)) * (end - d)

    d = brentq(lambda d: over(d, upper), lower, 0)
    lower_slope = derivative(value(d))
    below = value(d) + lower_slope * (middle - d)
    above = value(middle)  # the upper line touches at the middle, if to the right of d
    assert middle > brentq(lambda d: over(d, lower), 0, upper)
    lines = relaxation(name).lines(exact(lower), exact(upper))
    found = middle_gap(lines, exact(lower), exact(upper))
    assert float(found[0]) == pytest.approx(below, abs=1e-5)
    assert float(found[1]) == pytest.approx(above, abs=1e-12)


@pytest.mark.parametrize(
    "name", ["gelu", "gelu_tanh", "silu", "mish", "hardswish", "sin", "elu", "selu"]
)
def test_lines_are_close_to_the_hull_at_the_middle(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    lower = torch.randn(60, generator=generator, dtype=torch.float64) * 3
    upper = lower + torch.rand(60, generator=generator, dtype=torch.float64) * 6
    function = relaxation(name)
    lines = function.lines(lower, upper)
    low, high = middle_gap(lines, lower, upper)
    x = lower + torch.linspace(0, 1, 401, dtype=torch.float64)[:, None] * (upper - lower)
    y = function.value(x)
    # Height of the hull at the middle: the best chord over a left and a right point of a grid.
    left, right = slice(0, 200, 4), slice(200, 401, 4)
    share = (x[200] - x[left][:, None]) / (x[right] - x[left][:, None])
    chords = y[left][:, None] + share * (y[right] - y[left][:, None])
    below, above = chords.amin((0, 1)), chords.amax((0, 1))
    size = (above - below) + 1e-3
    assert ((below - low) / size).median() < 0.01
    assert ((high - above) / size).median() < 0.01
    assert ((below - low) / size).max() < 0.1
    assert ((high - above) / size).max() < 0.1


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "exp", "gelu", "silu", "softplus", "erf"])
def test_huge_intervals_of_saturating_functions(name: str) -> None:
    function = relaxation(name)
    low = torch.tensor([-1e30, -1e30])
    high = torch.tensor([-20.0, 2.0])
    lines = function.lines(low, high)
    ends = function.range(low, high)
    assert ((lines.lower_slope * high + lines.lower_offset) >= ends[0] - 1e-5).all()
    upper = lines.upper_slope * high + lines.upper_offset
    assert (upper <= ends[1] + 1e-5).all()


def test_ranges_of_monotone_functions_are_values_at_the_ends() -> None:
    low, high = exact(-2), exact(3)
    for name in ("sigmoid", "tanh", "exp", "softplus", "relu", "elu"):
        function = relaxation(name)
        ends = function.range(low, high)
        torch.testing.assert_close(ends[0], function.value(low), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(ends[1], function.value(high), rtol=1e-13, atol=1e-13)


def test_range_knows_the_lowest_point() -> None:
    low, high = relaxation("gelu").range(exact(-3), exact(1))
    assert float(low) == pytest.approx(-0.16997120747990366, abs=1e-12)
    assert float(high) == pytest.approx(0.8413447460685429, abs=1e-12)


@pytest.mark.parametrize("name", ["sigmoid", "relu", "sin", "floor"])
def test_nan_and_empty_intervals_are_refused(name: str) -> None:
    for low, high in ((math.nan, 1.0), (0.0, math.nan), (1.0, 0.5)):
        with pytest.raises(InvalidIntervalError):
            relaxation(name).lines(exact(low), exact(high))
    with pytest.raises(InvalidIntervalError):
        relaxation(name).lines(torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(InvalidIntervalError):
        relaxation(name).lines(exact(0), exact(1, 2))


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("reciprocal", -1, 1),
        ("reciprocal", 0, 1),
        ("log", 0, 1),
        ("sqrt", -0.1, 1),
        ("rsqrt", 0, 1),
    ],
)
def test_intervals_outside_the_domain_are_refused(name: str, lower: float, upper: float) -> None:
    with pytest.raises(OutsideDomainError, match=name):
        relaxation(name).lines(exact(2, lower), exact(3, upper))
    with pytest.raises(OutsideDomainError):
        relaxation(name).range(exact(lower), exact(upper))


def test_unknown_functions_and_bad_parameters() -> None:
    with pytest.raises(UnsupportedOperatorError, match="bessel"):
        relaxation("bessel")
    for name, parameters in (
        ("leaky_relu", {"slope": math.inf}),
        ("softplus", {"beta": 0.0}),
        ("celu", {"alpha": -1.0}),
        ("clip", {"low": math.nan}),
        ("hardsigmoid", {"alpha": 0.0}),
        ("shrink", {"threshold": -1.0}),
    ):
        with pytest.raises(InvalidParameterError):
            relaxation(name, **parameters)
    with pytest.raises(RobcertError):
        RELAXATIONS["interpolation"]((1.0, 0.0), (0.0, 0.0))
