"""Relaxations by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.errors import UnsupportedOperatorError

from . import functions, periodic, piecewise_linear, steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lines import Relaxation

RELAXATIONS: dict[str, Callable[..., Relaxation]] = {
    "relu": piecewise_linear.relu,
    "leaky_relu": piecewise_linear.leaky_relu,
    "abs": piecewise_linear.absolute,
    "clip": piecewise_linear.clip,
    "hardtanh": piecewise_linear.hardtanh,
    "hardsigmoid": piecewise_linear.hardsigmoid,
    "interpolation": piecewise_linear.interpolation,
    "thresholded_relu": piecewise_linear.thresholded_relu,
    "shrink": piecewise_linear.shrink,
    "sign": piecewise_linear.sign,
    "greater": piecewise_linear.greater,
    "greater_or_equal": piecewise_linear.greater_or_equal,
    "floor": steps.floor,
    "ceil": steps.ceil,
    "round": steps.round_half_even,
    "sigmoid": functions.sigmoid,
    "log_sigmoid": functions.log_sigmoid,
    "tanh": functions.tanh,
    "erf": functions.erf,
    "atan": functions.atan,
    "softsign": functions.softsign,
    "asinh": functions.asinh,
    "sinh": functions.sinh,
    "cosh": functions.cosh,
    "softplus": functions.softplus,
    "exp": functions.exponential,
    "log": functions.logarithm,
    "sqrt": functions.square_root,
    "rsqrt": functions.reciprocal_root,
    "reciprocal": functions.reciprocal,
    "square": functions.square,
    "pow": functions.any_power,
    "gelu": functions.gelu,
    "gelu_tanh": functions.gelu_tanh,
    "silu": functions.silu,
    "mish": functions.mish,
    "hardswish": functions.hardswish,
    "elu": functions.elu,
    "celu": functions.celu,
    "selu": functions.selu,
    "sin": periodic.sine,
    "cos": periodic.cosine,
}
"""Constructors of the relaxations, by the function's name in torch where it has one. Parameters are
those of the function; their defaults are those of ONNX."""


def relaxation(name: str, **parameters: float | None) -> Relaxation:
    """The relaxation of the function ``name``, with its parameters.

    Raises:
        UnsupportedOperatorError: there is none.

    >>> relaxation("leaky_relu", slope=0.1).name
    'leaky_relu'
    """
    if name not in RELAXATIONS:
        message = f"there are no linear bounds of the function {name!r}"
        raise UnsupportedOperatorError(message)
    return RELAXATIONS[name](**parameters)
