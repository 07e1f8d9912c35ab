"""Surrogate slopes, for functions that saturate, for comparisons and for waves.

A sigmoid of large numbers and a comparison have gradient 0 in floating point, though both increase.
The surrogates keep the value; their slope is positive everywhere and decreases with the distance d
from the threshold as 1/(1 + d)^2, which never underflows. Rounding and sign have surrogates of
their own in the operators' table.

A sine, a cosine and a remainder have a gradient, but where the inputs pass through several periods
it only tells the nearest crest. Over a whole period the function neither rises nor falls, so its
surrogate slope is 0: what a wave is added to keeps its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..operators.activations import hard_sigmoid, sigmoid
from ..operators.arithmetic import clip, clip_by_attributes, modulo
from ..operators.common import floats, with_slope
from ..operators.indexing import where
from ..operators.logic import cast
from ..operators.operator_table import lookup

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import fx


def _bell(distance: Tensor, width: float) -> Tensor:
    """1/(1 + d)^2 of distances in units of their size or of ``width``; its integral is 1.

    Their size is the root mean square over an image: for a function steeper than the inputs are
    dense, only a single input would otherwise have a slope.
    """
    fixed = distance.detach()
    axes = tuple(range(1, fixed.ndim)) or (0,)
    size = fixed.square().mean(axes, keepdim=True).sqrt().clamp_min(width)
    return (1 + fixed.abs() / size) ** -2 / (2 * size)


def _sigmoid(x: Tensor) -> Tensor:
    return with_slope(sigmoid(x), x, _bell(x, 2.0))


def _tanh(x: Tensor) -> Tensor:
    return with_slope(torch.tanh(x), x, 2 * _bell(x, 1.0))


def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return _clip(alpha * x + beta, 0.0, 1.0)


def _clip(x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    value = clip(x, low, high)
    bounds = (*floats(low), *floats(high))
    if len(bounds) < 2 or not x.is_floating_point():  # one bound is a ReLU
        return value
    width = max(bounds[1] - bounds[0], 1e-12)
    return with_slope(value, x, width * _bell(x - sum(bounds) / 2, width / 2))


def _clip_by_attributes(
    x: Tensor, *, min_: float | None = None, max_: float | None = None
) -> Tensor:
    return _clip(x, min_, max_)


def _compared(x: Tensor, threshold: Tensor) -> Tensor:
    """Zero, with the surrogate slope of a step of height 1 where ``x`` crosses the threshold."""
    d = x - threshold
    return with_slope(torch.zeros_like(d), d, _bell(d, 1e-12))


def _cast_of(flag: Tensor, x: Tensor, threshold: Tensor, *, sign: float, **how: Any) -> Tensor:
    value = cast(flag, **how)
    if not value.is_floating_point():
        return value
    return value + sign * _compared(x, threshold)


def _where_of(
    flag: Tensor, then: Tensor, other: Tensor, x: Tensor, threshold: Tensor, *, sign: float
) -> Tensor:
    value = where(flag, then, other)
    if not value.is_floating_point():
        return value
    return value + sign * (then - other).detach() * _compared(x, threshold)


def _sine(x: Tensor) -> Tensor:
    return _on_average(torch.sin(x), x, 2 * math.pi)


def _cosine(x: Tensor) -> Tensor:
    return _on_average(torch.cos(x), x, 2 * math.pi)


def _modulo(x: Tensor, y: Tensor, *, fmod: int = 0) -> Tensor:
    value = modulo(x, y, fmod=fmod)
    return _on_average(value, x, y.detach().abs()) if value.is_floating_point() else value


def _on_average(value: Tensor, x: Tensor, period: Tensor | float) -> Tensor:
    """``value`` with its slope, or with slope 0 in images whose inputs pass several periods.

    They do if the root mean square of their deviations from the image's mean exceeds a quarter of
    the period.
    """
    fixed = x.detach()
    axes = tuple(range(1, fixed.ndim)) or (0,)
    size = (fixed - fixed.mean(axes, keepdim=True)).square().mean(axes, keepdim=True).sqrt()
    return torch.where(size > period / 4, value.detach(), value)


RISING: dict[Callable[..., Any], Callable[..., Any]] = {
    sigmoid: _sigmoid,
    torch.tanh: _tanh,
    hard_sigmoid: _hard_sigmoid,
    clip: _clip,
    clip_by_attributes: _clip_by_attributes,
}
"""Saturating functions and their counterparts with a slope everywhere."""

WAVES: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.sin: _sine,
    torch.cos: _cosine,
    modulo: _modulo,
}
"""Periodic functions and their counterparts with the slope over several periods."""

SURROGATES = RISING | WAVES

_SIGNS = {"Greater": 1.0, "GreaterOrEqual": 1.0, "Less": -1.0, "LessOrEqual": -1.0}

COMPARISONS = {
    row.function: sign for name, sign in _SIGNS.items() if (row := lookup("", name, 13)) is not None
}
"""Comparisons; 1 for those that become true as x increases, else -1."""


def use_surrogate_slopes(graph: fx.Graph) -> int:
    """Replace these functions and comparisons in ``graph``; the number of nodes replaced."""
    changed = 0
    for node in list(graph.nodes):
        if node.target in SURROGATES:
            node.target = SURROGATES[node.target]
            changed += 1
        elif node.target in (cast, where) and node.args:
            changed += _after_comparison(node)
    return changed


def _after_comparison(node: fx.Node) -> int:
    flag: Any = node.args[0]
    sign = COMPARISONS.get(flag.target) if hasattr(flag, "target") else None
    if sign is None:
        return 0
    node.args = (*node.args, *flag.args)
    node.kwargs = {**node.kwargs, "sign": sign}
    node.target = _cast_of if node.target is cast else _where_of
    return 1
