"""Element by element: arithmetic, powers, trigonometry, rounding."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.numerics import saturated, whole_vectors

from .common import floats, scalar, with_slope
from .operator_table import Gradient, elementwise, operator

_SIGN_WIDTH = 0.01

for _name, _function in {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}.items():
    elementwise(_function, _name)


@operator("Atanh")
@whole_vectors
def inverse_hyperbolic_tangent(x: Tensor) -> Tensor:
    """The number whose hyperbolic tangent is ``x``."""
    return torch.atanh(x)


# Before version 7 these broadcast by an attribute, in a way no runtime still supports.
elementwise(torch.add, "Add", n_inputs=2, since=7)
elementwise(torch.sub, "Sub", n_inputs=2, since=7)
elementwise(torch.mul, "Mul", n_inputs=2, since=7)


@operator("Div", since=7)
def divide(x: Tensor, y: Tensor) -> Tensor:
    """Quotient; integers are truncated towards zero."""
    exact = x.is_floating_point() or y.is_floating_point()
    return torch.div(x, y, rounding_mode=None if exact else "trunc")


@operator("Pow", since=7)
def power(x: Tensor, exponent: Tensor) -> Tensor:
    """``x`` to the exponent, in the type of x."""
    if exponent.numel() == 1 and exponent.ndim <= x.ndim:
        return raised(x, exponent.reshape(())).to(x.dtype)
    shape = np.broadcast_shapes(x.shape, exponent.shape)
    return raised(x.expand(shape), exponent.expand(shape)).to(x.dtype)


@whole_vectors
def raised(x: Tensor, exponent: Tensor | float) -> Tensor:
    """``x`` to the exponent: a single number, or one of each element."""
    return torch.pow(x, exponent)


@operator("Mod", since=10, gradient=Gradient.TRUE)
def modulo(x: Tensor, y: Tensor, *, fmod: int = 0) -> Tensor:
    """Remainder with the sign of y, or of x if ``fmod``."""
    return torch.fmod(x, y) if fmod else torch.remainder(x, y)


@operator("Sum", since=6)
def total(*values: Tensor) -> Tensor:
    """Sum of all inputs, broadcast."""
    return functools.reduce(torch.add, values)


@operator("Mean", since=6)
def mean(*values: Tensor) -> Tensor:
    """Mean of all inputs, broadcast."""
    return functools.reduce(torch.add, values) / len(values)


@operator("Max", since=6)
def maximum(*values: Tensor) -> Tensor:
    """Greatest of the inputs, broadcast."""
    return functools.reduce(torch.maximum, values)


@operator("Min", since=6)
def minimum(*values: Tensor) -> Tensor:
    """Least of the inputs, broadcast."""
    return functools.reduce(torch.minimum, values)


@operator("Clip", since=6)
def clip_by_attributes(
    x: Tensor, *, min_: float | None = None, max_: float | None = None
) -> Tensor:
    """``x`` between two numbers."""
    return x if min_ is None and max_ is None else saturated(x, min_, max_)


@operator("Clip", since=11, limits=("low", "high"))
def clip(
    x: Tensor, low: Tensor | float | None = None, high: Tensor | float | None = None
) -> Tensor:
    """``x`` between two numbers; the upper one wins where they cross."""
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        for limit, bounded in ((low, torch.maximum), (high, torch.minimum)):
            if (value := scalar(limit, x)) is not None:
                x = bounded(x, value)
        return x
    (lower,) = floats(low) or (None,)
    (upper,) = floats(high) or (None,)
    if not x.is_floating_point():
        lower, upper = (None if v is None else int(v) for v in (lower, upper))
    return x if lower is None and upper is None else saturated(x, lower, upper)


@operator("Round", gradient=Gradient.STRAIGHT_THROUGH, since=11)
def rounded(x: Tensor, *, straight_through: bool = False) -> Tensor:
    """Nearest integer, halves to even."""
    return with_slope(torch.round(x), x) if straight_through else torch.round(x)


@operator("Floor", gradient=Gradient.STRAIGHT_THROUGH, ignore=("consumed_inputs",))
def floor(x: Tensor, *, straight_through: bool = False) -> Tensor:
    """Greatest integer not above x."""
    return with_slope(torch.floor(x), x) if straight_through else torch.floor(x)


@operator("Ceil", gradient=Gradient.STRAIGHT_THROUGH, ignore=("consumed_inputs",))
def ceiling(x: Tensor, *, straight_through: bool = False) -> Tensor:
    """Least integer not below x."""
    return with_slope(torch.ceil(x), x) if straight_through else torch.ceil(x)


@operator("Sign", gradient=Gradient.STRAIGHT_THROUGH, since=9)
def sign(x: Tensor, *, straight_through: bool = False) -> Tensor:
    r"""-1, 0 or 1.

    The stand-in is the slope of the mean sign under Cauchy noise, :math:`E[\mathrm{sign}(x + s z)]
    = (2 / \pi) \arctan(x / s)`, with s a hundredth of the root mean square of the image's own
    entries. Only entries near 0 can change within a small radius, and an entry's share falls with
    the square of its distance from there. Under Gaussian noise as large as the entries all of them
    count alike, and attacks on a binarised network stop at twice the distance. The usual window
    |x| <= 1 (Hubara et al. 2016, arXiv:1602.02830) suits networks in training; in finished files
    most values lie outside it.
    """
    value = torch.sign(x)
    if not straight_through:
        return value
    fixed = x.detach()
    axes = tuple(range(1, x.ndim)) or (0,)
    size = _SIGN_WIDTH * fixed.square().mean(axes, keepdim=True).sqrt().clamp_min(1e-12)
    slope = (2 / math.pi) * size / (size.square() + fixed.square())
    return with_slope(value, x, slope)
