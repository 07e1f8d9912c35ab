r"""Smooth functions: value, derivative, curvature and evaluation errors of each.

Formulas keep their *relative* accuracy in the tails, so that lines over huge intervals stay tight.
Errors assume that torch's elementary functions are correct to 2 units in the last place in float64.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from robcert.certify.errors import InvalidParameterError, require_positive

from .curve import Curve, Domain
from .pieces import Error, Function, Segment, no_error, relative_error, small_error
from .piecewise_linear import linear_piece
from .rounding import EPSILON

if TYPE_CHECKING:
    from torch import Tensor

INFINITY = math.inf
WHOLE = (-INFINITY, INFINITY)
EDGE_ERROR = 4e-15
"""Distance of a stored inflection point from the true one."""

GELU_INFLECTION = 1.4142135623730951  # sqrt(2)
GELU_TANH_INFLECTION = 1.418504008790828355548
SILU_INFLECTION = 2.399357280515467667833  # x tanh(x / 2) = 2
MISH_INFLECTIONS = (-2.256376396360793120006, 1.490571179485428459294)
GELU_TURN = -0.7517915246935645
GELU_TANH_TURN = -0.7524614220710162
SILU_TURN = -1.278464542761073795109
MISH_TURN = -1.192431214515495212138
GELU_TANH_CUBE = 0.044715
LARGEST_WHOLE_POWER = 64
"""Larger whole exponents are treated as real ones: nobody uses them."""


def _piece(
    ends: tuple[float, float],
    curvature: float,
    value: Function,
    slope: Function,
    *,
    errors: tuple[Error, Error] | None = None,
    core: float = INFINITY,
) -> Segment:
    """A piece with exact ends; without ``errors`` both formulas have a small relative error."""
    errors = errors or (small_error, small_error)
    return Segment(*ends, curvature, value, slope, errors[0], errors[1], core=core)


def _cut(
    piece: Segment, cuts: tuple[float, ...], first: float, *, edge_error: float = 0.0
) -> tuple[Segment, ...]:
    """One formula on the line cut at inflection points; the curvature alternates from ``first``."""
    ends = (-INFINITY, *cuts, INFINITY)
    return tuple(
        replace(
            piece,
            start=ends[index],
            stop=ends[index + 1],
            curvature=first * (-1) ** index,
            edge_error=edge_error,
            lipschitz=2.0,
        )
        for index in range(len(ends) - 1)
    )


def _capped(x: Tensor) -> Tensor:
    """|x|, at most 800: beyond, exponentials of x are 0 and their relative error is not needed."""
    return x.abs().clamp_max(800.0)


def sigmoid() -> Curve:
    """1 / (1 + e^-x)."""

    def slope(x: Tensor) -> Tensor:
        tail = torch.exp(-x.abs())
        return tail / (1 + tail).square()

    piece = _piece(WHOLE, 1, torch.sigmoid, slope, core=40.0)
    return Curve("sigmoid", _cut(piece, (0.0,), 1), limits=(0.0, 1.0))


def tanh() -> Curve:
    """The hyperbolic tangent."""

    def slope(x: Tensor) -> Tensor:
        tail = torch.exp(-2 * x.abs())
        return 4 * tail / (1 + tail).square()

    piece = _piece(WHOLE, 1, torch.tanh, slope, core=20.0)
    return Curve("tanh", _cut(piece, (0.0,), 1), limits=(-1.0, 1.0))


def erf() -> Curve:
    """The error function."""

    def slope(x: Tensor) -> Tensor:
        return 2 / math.sqrt(math.pi) * torch.exp(-x.square())

    errors: tuple[Error, Error] = (
        small_error,
        lambda x, v: relative_error(v * (1 + _capped(x).square())),
    )
    piece = _piece(WHOLE, 1, torch.erf, slope, errors=errors, core=6.5)
    return Curve("erf", _cut(piece, (0.0,), 1), limits=(-1.0, 1.0))


def atan() -> Curve:
    """The inverse tangent."""
    piece = _piece(WHOLE, 1, torch.atan, lambda x: 1 / (1 + x.square()), core=1e8)
    return Curve("atan", _cut(piece, (0.0,), 1), limits=(-1.5707963267948968, 1.5707963267948968))


def softsign() -> Curve:
    """The soft sign x / (1 + |x|)."""
    piece = _piece(
        WHOLE, 1, lambda x: x / (1 + x.abs()), lambda x: 1 / (1 + x.abs()).square(), core=1e8
    )
    return Curve("softsign", _cut(piece, (0.0,), 1), limits=(-1.0, 1.0))


def asinh() -> Curve:
    """The inverse hyperbolic sine."""

    def value(x: Tensor) -> Tensor:
        size = x.abs()
        root = torch.sqrt(1 + size.square())
        return torch.copysign(torch.log1p(size + size.square() / (1 + root)), x)

    piece = _piece(WHOLE, 1, value, lambda x: 1 / torch.sqrt(1 + x.square()), core=1e8)
    return Curve("asinh", _cut(piece, (0.0,), 1))


def sinh() -> Curve:
    """The hyperbolic sine."""
    piece = _piece(WHOLE, -1, torch.sinh, torch.cosh, core=715.0)
    return Curve("sinh", _cut(piece, (0.0,), -1))


def cosh() -> Curve:
    """The hyperbolic cosine."""
    piece = _piece(WHOLE, 1, torch.cosh, torch.sinh, core=715.0)
    return Curve("cosh", (piece,), turns=(0.0,), limits=(1.0, INFINITY))


def softplus(beta: float = 1.0) -> Curve:
    """log(1 + e^(beta x)) / beta; beta above 0."""
    require_positive("beta", beta)

    def value(x: Tensor) -> Tensor:
        return x.clamp_min(0) + torch.log1p(torch.exp(-beta * x.abs())) / beta

    def slope(x: Tensor) -> Tensor:
        return torch.sigmoid(beta * x)

    errors: tuple[Error, Error] = (
        lambda x, v: relative_error(v * (1 + _capped(beta * x))),
        lambda x, v: relative_error(v * (1 + _capped(beta * x))),
    )
    piece = _piece(WHOLE, 1, value, slope, errors=errors, core=40.0 / beta)
    return Curve("softplus", (piece,), limits=(0.0, INFINITY))


def log_sigmoid() -> Curve:
    """Logarithm of the logistic function: -log(1 + e^-x)."""

    def value(x: Tensor) -> Tensor:
        return x.clamp_max(0) - torch.log1p(torch.exp(-x.abs()))

    piece = _piece(WHOLE, -1, value, lambda x: torch.sigmoid(-x), core=40.0)
    return Curve("log_sigmoid", (piece,), limits=(-INFINITY, 0.0))


def exponential() -> Curve:
    """e^x."""
    piece = _piece(WHOLE, 1, torch.exp, torch.exp, core=750.0)
    return Curve("exp", (piece,), limits=(0.0, INFINITY))


def logarithm() -> Curve:
    """The natural logarithm; x above 0."""
    piece = _piece((0.0, INFINITY), -1, torch.log, torch.reciprocal)
    return Curve("log", (piece,), domain=Domain(0.0, open_start=True))


def square_root() -> Curve:
    """The square root; x at least 0."""
    piece = _piece((0.0, INFINITY), -1, torch.sqrt, lambda x: 0.5 / torch.sqrt(x))
    return Curve("sqrt", (piece,), limits=(0.0, INFINITY), domain=Domain(0.0))


def reciprocal_root() -> Curve:
    """1 / sqrt(x); x above 0."""
    piece = _piece(
        (0.0, INFINITY), 1, lambda x: 1 / torch.sqrt(x), lambda x: -0.5 / (x * torch.sqrt(x))
    )
    domain = Domain(0.0, open_start=True)
    return Curve("rsqrt", (piece,), limits=(0.0, INFINITY), domain=domain)


def reciprocal() -> Curve:
    """1 / x on either side of 0."""
    return _negative_power(-1, "reciprocal")


def square() -> Curve:
    """x^2."""
    return power(2, name="square")


def power(exponent: int, *, name: str = "power") -> Curve:
    """``x`` to a whole power; x not 0 for a negative one."""
    if exponent < 0:
        return _negative_power(exponent, name)
    if exponent <= 1:
        line = _piece(
            WHOLE,
            0,
            lambda x: x if exponent else torch.ones_like(x),
            lambda x: torch.full_like(x, float(exponent)),
            errors=(no_error, no_error),
        )
        return Curve(name, (line,))
    piece = _piece(
        WHOLE,
        1,
        lambda x: torch.pow(x, exponent),
        lambda x: exponent * torch.pow(x, exponent - 1),
    )
    if exponent % 2 == 0:
        return Curve(name, (piece,), turns=(0.0,), limits=(0.0, INFINITY))
    return Curve(name, _cut(piece, (0.0,), -1))


def _negative_power(exponent: int, name: str) -> Curve:
    """``x`` to a negative exponent, on either side of 0."""
    right = _piece(
        (0.0, INFINITY),
        1,
        lambda x: torch.pow(x, exponent),
        lambda x: exponent * torch.pow(x, exponent - 1),
    )
    even = exponent % 2 == 0
    left = replace(right, start=-INFINITY, stop=0.0, curvature=1 if even else -1)
    limits = (0.0, INFINITY) if even else (-INFINITY, INFINITY)
    return Curve(name, (left, right), limits=limits, domain=Domain(without_zero=True))


def any_power(exponent: float) -> Curve:
    """``x`` to a constant power: on the whole line for whole exponents, else on x > 0."""
    if exponent == round(exponent) and abs(exponent) <= LARGEST_WHOLE_POWER:
        return power(round(exponent), name="pow")
    return real_power(exponent)


def real_power(exponent: float) -> Curve:
    """``x`` to the power p on positive x with a finite exponent; x = 0 is allowed for p above 0."""
    if not math.isfinite(exponent):
        message = f"exponent must be finite, got {exponent}"
        raise InvalidParameterError(message)

    def value(x: Tensor) -> Tensor:
        return torch.pow(x, exponent)

    def slope(x: Tensor) -> Tensor:
        return exponent * torch.pow(x, exponent - 1)

    def rounded(
        x: Tensor, computed: Tensor
    ) -> Tensor:  # what the rounding of p - 1 does to x^(p - 1)
        steps = 1 + abs(exponent) * torch.log(x).abs().nan_to_num(posinf=800.0)
        return relative_error(computed * steps)

    curvature = 1 if exponent >= 1 or exponent <= 0 else -1
    piece = _piece(
        (0.0, INFINITY),
        curvature,
        value,
        slope,
        errors=(small_error, rounded),
    )
    domain = Domain(0.0, open_start=exponent <= 0)
    return Curve("pow", (piece,), limits=(0.0, INFINITY), domain=domain)


def gelu() -> Curve:
    """``x`` times the normal distribution function of x."""

    def share(x: Tensor) -> Tensor:
        return 0.5 * torch.erfc(-x * math.sqrt(0.5))

    def value(x: Tensor) -> Tensor:
        return x * share(x)

    def density(x: Tensor) -> Tensor:
        return x * torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)

    def growth(x: Tensor) -> Tensor:  # a relative error of x becomes one of x^2 in the tail
        return 1 + _capped(x).square()

    errors: tuple[Error, Error] = (
        lambda x, v: relative_error(v * growth(x)),
        lambda x, _: relative_error((share(x) + density(x).abs()) * growth(x)),
    )
    piece = _piece(WHOLE, -1, value, lambda x: share(x) + density(x), errors=errors, core=40.0)
    cuts = (-GELU_INFLECTION, GELU_INFLECTION)
    pieces = _cut(piece, cuts, -1, edge_error=EDGE_ERROR)
    return Curve("gelu", pieces, turns=(GELU_TURN,), limits=(-0.17, INFINITY))


def gelu_tanh() -> Curve:
    """The approximation of GELU: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    scale = 2 * math.sqrt(2 / math.pi)

    def inner(x: Tensor) -> Tensor:
        return scale * (x + GELU_TANH_CUBE * x * x * x)

    def value(x: Tensor) -> Tensor:
        return x * torch.sigmoid(inner(x))

    def bend(x: Tensor) -> Tensor:
        part = torch.sigmoid(inner(x)) * torch.sigmoid(-inner(x))
        change = scale * (1 + 3 * GELU_TANH_CUBE * x.square())
        return torch.where(part == 0, 0.0, x * part * change)

    def growth(x: Tensor) -> Tensor:
        return 1 + _capped(inner(x))

    errors: tuple[Error, Error] = (
        lambda x, v: relative_error(v * growth(x)),
        lambda x, _: relative_error((torch.sigmoid(inner(x)) + bend(x).abs()) * growth(x)),
    )
    piece = _piece(
        WHOLE, -1, value, lambda x: torch.sigmoid(inner(x)) + bend(x), errors=errors, core=25.0
    )
    cuts = (-GELU_TANH_INFLECTION, GELU_TANH_INFLECTION)
    pieces = _cut(piece, cuts, -1, edge_error=EDGE_ERROR)
    return Curve("gelu_tanh", pieces, turns=(GELU_TANH_TURN,), limits=(-0.1701, INFINITY))


def silu(alpha: float = 1.0) -> Curve:
    """The function x / (1 + e^(-alpha x)), also called swish; alpha above 0."""
    require_positive("alpha", alpha)

    def value(x: Tensor) -> Tensor:
        return x * torch.sigmoid(alpha * x)

    def slope(x: Tensor) -> Tensor:
        return torch.sigmoid(alpha * x) * (1 + alpha * x * torch.sigmoid(-alpha * x))

    def rise(x: Tensor) -> Tensor:
        return torch.sigmoid(alpha * x) * (1 + (alpha * x * torch.sigmoid(-alpha * x)).abs())

    def growth(x: Tensor) -> Tensor:
        return 1 + _capped(alpha * x)

    errors: tuple[Error, Error] = (
        lambda x, v: relative_error(v * growth(x)),
        lambda x, _: relative_error(rise(x) * growth(x)),
    )
    piece = _piece(WHOLE, -1, value, slope, errors=errors, core=45.0 / alpha)
    cuts = (-SILU_INFLECTION / alpha, SILU_INFLECTION / alpha)
    pieces = _cut(piece, cuts, -1, edge_error=EDGE_ERROR / alpha)
    limits = (-0.279 / alpha, INFINITY)
    return Curve("silu", pieces, turns=(SILU_TURN / alpha,), limits=limits)


def mish() -> Curve:
    """``x`` tanh(log(1 + e^x))."""

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:  # tanh(softplus(x)) and its derivative
        tail = torch.exp(-x.abs())
        left, right = tail * (tail + 2), 1 + 2 * tail
        below = (left / (left + 2), 4 * tail * (1 + tail) / (left + 2).square())
        whole = right + 2 * tail.square()
        above = (right / whole, 4 * (1 + tail) * tail.square() / whole.square())
        return torch.where(x < 0, below[0], above[0]), torch.where(x < 0, below[1], above[1])

    def value(x: Tensor) -> Tensor:
        return x * parts(x)[0]

    def slope(x: Tensor) -> Tensor:
        factor, change = parts(x)
        return factor + x * change

    def size(x: Tensor) -> Tensor:
        factor, change = parts(x)
        return factor + (x * change).abs()

    errors: tuple[Error, Error] = (
        small_error,
        lambda x, _: relative_error(size(x)),
    )
    piece = _piece(WHOLE, -1, value, slope, errors=errors, core=45.0)
    pieces = _cut(piece, MISH_INFLECTIONS, -1, edge_error=EDGE_ERROR)
    return Curve("mish", pieces, turns=(MISH_TURN,), limits=(-0.309, INFINITY))


def hardswish() -> Curve:
    """``x`` min(max(x + 3, 0), 6) / 6."""
    bowl = _piece(
        (-3.0, 3.0),
        1,
        lambda x: x * (x + 3) / 6,
        lambda x: (2 * x + 3) / 6,
        errors=(
            lambda x, _: relative_error(x * (x.abs() + 3) / 6),
            lambda x, _: relative_error(1 + x.abs()),
        ),
    )
    pieces = (
        linear_piece(-INFINITY, -3.0, 0, 0.0),
        bowl,
        linear_piece(3.0, INFINITY, 1),
    )
    return Curve("hardswish", pieces, turns=(-3.0, -1.5), limits=(-0.375, INFINITY))


def elu(alpha: float = 1.0) -> Curve:
    """``x``, or alpha (e^x - 1) where negative; any finite alpha."""
    return scaled_elu(alpha, 1.0, name="elu")


def celu(alpha: float = 1.0) -> Curve:
    """``x``, or alpha (e^(x / alpha) - 1) where negative; alpha above 0."""
    require_positive("alpha", alpha)

    def value(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, alpha * torch.expm1(x.clamp_max(0) / alpha))

    def slope(x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, torch.exp(x.clamp_max(0) / alpha))

    errors: tuple[Error, Error] = (
        lambda x, v: torch.where(x >= 0, 0.0, relative_error(v)),
        lambda x, v: torch.where(x >= 0, 0.0, relative_error(v * (1 + _capped(x / alpha)))),
    )
    piece = _piece(WHOLE, 1, value, slope, errors=errors, core=40.0 * alpha)
    return Curve("celu", (piece,), limits=(-alpha, INFINITY))


def selu(
    alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Curve:
    """Gamma times Elu; gamma above 0."""
    return scaled_elu(alpha, gamma, name="selu")


def scaled_elu(alpha: float, gamma: float, *, name: str) -> Curve:
    """``gamma x``, or gamma alpha (e^x - 1) where negative; gamma above 0."""
    require_positive("gamma", gamma)
    if not math.isfinite(alpha):
        message = f"alpha must be finite, got {alpha}"
        raise InvalidParameterError(message)
    scale = alpha * gamma
    left = _piece(
        (-INFINITY, 0.0),
        math.copysign(1, alpha) if alpha else 0,
        lambda x: scale * torch.expm1(x.clamp_max(0)),
        lambda x: scale * torch.exp(x.clamp_max(0)),
        core=40.0,
    )
    right = linear_piece(0.0, INFINITY, gamma)
    limits = (-scale * (1 + 4 * EPSILON), INFINITY) if alpha >= 0 else (0.0, INFINITY)
    if not 0 < alpha <= 1:
        return Curve(name, (left, right), turns=(0.0,), limits=limits)
    return Curve(name, (_joined(left, right),), limits=limits)


def _joined(left: Segment, right: Segment) -> Segment:
    """Two convex pieces that meet at 0 with a slope that does not fall: one convex piece."""

    def both(before: Function, after: Function) -> Function:
        return lambda x: torch.where(x > 0, after(x), before(x))

    def errors(before: Error, after: Error) -> Error:
        return lambda x, v: torch.where(x > 0, after(x, v), before(x, v))

    return replace(
        left,
        stop=right.stop,
        value=both(left.value, right.value),
        slope=both(left.slope, right.slope),
        value_error=errors(left.value_error, right.value_error),
        slope_error=errors(left.slope_error, right.slope_error),
    )
