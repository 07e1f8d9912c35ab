"""Rules of smooth functions of each element, with the errors of their evaluation in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.errors import UnsupportedOperatorError

from .table import known, rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..translate import NetworkBuilder, Symbol, Value

FUNCTION_ERROR = 2.0**-20
"""Error in float32 of a function with values near 1, and relative error of others."""

TAIL_ERROR = 2.0**-18
"""Absolute error in float32 of x times a function with values in [0, 1], off by a few units
of 1 in the last place: ONNX Runtime's GELU gives 0 where it is -1e-7."""

GATED = frozenset({"silu", "mish", "hardswish"})
"""Such functions without parameters."""


def activation(
    build: NetworkBuilder,
    x: Symbol,
    name: str,
    absolute: float | None = None,
    **parameters: float,
) -> Symbol:
    """A function of each element, with the absolute error of its evaluation in float32."""
    from ...relaxations import relaxation

    error = None if absolute is None else (absolute, FUNCTION_ERROR)
    return build.activation(x, relaxation(name, **parameters), error)


def function_rule(name: str) -> Callable[..., Symbol]:
    """Rule of an elementwise function without parameters."""

    def apply(build: NetworkBuilder, x: Symbol, *more: Any, **words: Any) -> Symbol:
        if more or words:  # such as the number of decimals to which it rounds
            message = f"operation {name!r} with options has no linear bounds"
            raise UnsupportedOperatorError(message)
        return activation(build, x, name, TAIL_ERROR if name in GATED else None)

    return apply


for _name in (
    *("sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "reciprocal", "erf", "silu", "hardswish"),
    *("mish", "sin", "cos", "atan", "asinh", "sinh", "cosh", "sign", "floor", "ceil", "round"),
):
    rule(_name, f"{_name}_")(function_rule(_name))


@rule("square")
def squared(build: NetworkBuilder, x: Symbol) -> Symbol:
    """The square of each element."""
    return function_rule("square")(build, x)


POWER_ROUNDINGS = 16
"""Relative error in float32 of a power with a small exponent, in units of :data:`FUNCTION_ERROR`.

Runtimes multiply, which has p - 1 roundings, or compute exp(p log x): the rounding of an exponent
of at most 89 = log(3e38) changes its exponential by 89 units of rounding, that of a logarithm near
0 changes it by p of them.
"""


@rule("pow")
def _pow(build: NetworkBuilder, x: Value, exponent: Value) -> Symbol:
    power = float(known(exponent, "pow"))
    if power == 1:
        return x
    if power == 2:
        return squared(build, x)
    from ...relaxations import relaxation

    error = (FUNCTION_ERROR, FUNCTION_ERROR * (POWER_ROUNDINGS + abs(power)))
    return build.activation(x, relaxation("pow", exponent=power), error)


@rule("gelu")
def _gelu(build: NetworkBuilder, x: Symbol, approximate: str = "none") -> Symbol:
    return activation(build, x, "gelu" if approximate == "none" else "gelu_tanh", TAIL_ERROR)


@rule("softplus")
def _softplus(build: NetworkBuilder, x: Symbol, beta: float = 1, threshold: float = 20) -> Symbol:
    if threshold < 20:  # beyond it torch gives x, which then is not nearly the function
        message = "softplus with a low threshold has no linear bounds"
        raise UnsupportedOperatorError(message)
    return activation(build, x, "softplus", FUNCTION_ERROR / beta, beta=float(beta))


@rule("elu", "elu_")
def _elu(
    build: NetworkBuilder, x: Symbol, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> Symbol:
    scale_error = FUNCTION_ERROR * max(1.0, abs(alpha))  # of e^x - 1
    # the negative side alone has the input's scale
    if input_scale == 1:
        found = activation(build, x, "elu", scale_error, alpha=float(alpha))
    elif alpha > 0 and input_scale == 1 / alpha:
        found = activation(build, x, "celu", scale_error, alpha=float(alpha))
    else:
        message = "this form of ELU has no linear bounds"
        raise UnsupportedOperatorError(message)
    return found if scale == 1 else build.combined([found], [scale])


@rule("celu", "celu_")
def _celu(build: NetworkBuilder, x: Symbol, alpha: float = 1) -> Symbol:
    return _elu(build, x, alpha, input_scale=1 / alpha)


@rule("log_sigmoid_forward")
def _log_sigmoid(build: NetworkBuilder, x: Symbol) -> tuple[Symbol, None]:
    return function_rule("log_sigmoid")(build, x), None
