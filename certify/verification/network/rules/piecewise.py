"""Rules of piecewise linear functions: ReLU and its relatives, limits, maxima, choices by sign."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from robcert.certify.errors import UnsupportedOperatorError

from ..combination import Combination
from ..precision import UNIT
from .sums import added, negated
from .table import is_constant, known, rule
from .windows import one_per_axis

if TYPE_CHECKING:
    from ..translate import NetworkBuilder, Symbol, Value


@rule("relu", "relu_")
def _relu(build: NetworkBuilder, x: Symbol) -> Symbol:
    return build.relu(x)


@rule("leaky_relu", "leaky_relu_")
def _leaky_relu(build: NetworkBuilder, x: Symbol, slope: float = 0.01) -> Symbol:
    return build.combined([x, build.relu(x)], [slope, 1 - slope])


@rule("_prelu_kernel", "prelu")
def _prelu(build: NetworkBuilder, x: Symbol, slope: Value) -> Symbol:
    steep = known(slope, "prelu").double()
    if steep.ndim == 1 and x.ndim > 2:
        steep = steep.view(-1, *[1] * (x.ndim - 2))
    return build.combined([x, build.relu(x)], [steep, 1 - steep])


@rule("abs", "abs_")
def absolute(build: NetworkBuilder, x: Symbol) -> Symbol:
    """2 max(x, 0) - x."""
    with build.parts():
        return build.combined([build.relu(x), x], [2, -1])


@rule("clamp", "clamp_")
def _clamp(
    build: NetworkBuilder, x: Symbol, low: Value = None, high: Value = None, **words: Value
) -> Symbol:
    low, high = words.get("min", low), words.get("max", high)
    with build.parts():
        if low is not None:  # low + relu(x - low)
            below = added(build, x, known(low, "clamp"), alpha=-1)
            x = build.combined([build.relu(below)], [1], low)
        if high is not None:  # high - relu(high - x)
            above = build.combined([x], [-1], known(high, "clamp"))
            x = build.combined([build.relu(above)], [-1], high)
    return x


@rule("hardtanh", "hardtanh_")
def _hardtanh(build: NetworkBuilder, x: Symbol, low: Value = -1.0, high: Value = 1.0) -> Symbol:
    return _clamp(build, x, low, high)


@rule("clamp_min", "clamp_min_")
def _clamp_min(build: NetworkBuilder, x: Symbol, low: Value) -> Symbol:
    return _clamp(build, x, low)


@rule("clamp_max", "clamp_max_")
def _clamp_max(build: NetworkBuilder, x: Symbol, high: Value) -> Symbol:
    return _clamp(build, x, None, high)


@rule("relu6")
def _relu6(build: NetworkBuilder, x: Symbol) -> Symbol:
    return _clamp(build, x, 0.0, 6.0)


@rule("hardsigmoid", "hardsigmoid_")
def _hardsigmoid(build: NetworkBuilder, x: Symbol) -> Symbol:
    return _clamp(build, build.combined([x], [1 / 6], 0.5), 0.0, 1.0)


@rule("maximum")
def _maximum(build: NetworkBuilder, x: Value, y: Value) -> Symbol:
    if is_constant(x):
        x, y = y, x
    with build.parts():
        found = added(build, build.relu(added(build, x, y, alpha=-1)), y)
    return _limited(build, found)


@rule("minimum")
def _minimum(build: NetworkBuilder, x: Value, y: Value) -> Symbol:
    if is_constant(x):
        x, y = y, x
    with build.parts():
        found = added(build, x, build.relu(added(build, x, y, alpha=-1)), alpha=-1)
    return _limited(build, found)


def _limited(build: NetworkBuilder, x: Symbol) -> Symbol:
    """``x``, whose limit may be off by the further roundings of the current operation.

    Where such an error changes anything the output is the limit, and the error relative to it.
    """
    from ...relaxations import relaxation

    count = build.constants.roundings
    if not count:
        return x
    return build.activation(x, relaxation("pow", exponent=1.0), (0.0, 1.01 * count * UNIT))


@rule("amax")
def _amax(build: NetworkBuilder, x: Symbol, dim: Any = (), keepdim: bool = False) -> Symbol:
    axes = one_per_axis(dim, 1) if dim != () else list(range(x.ndim))
    wanted = sorted(axis % x.ndim for axis in axes)
    others = [axis for axis in range(x.ndim) if axis not in wanted]
    count = math.prod(x.shape[axis] for axis in wanted)
    flat = build.reshaped(
        build.permuted(x, [*others, *wanted]), (*(x.shape[axis] for axis in others), count)
    )
    kept = [1 if axis in wanted else n for axis, n in enumerate(x.shape)]
    return build.reshaped(
        build.largest(flat), kept if keepdim else [x.shape[axis] for axis in others]
    )


@rule("amin")
def _amin(build: NetworkBuilder, x: Symbol, dim: Any = (), keepdim: bool = False) -> Symbol:
    return negated(build, _amax(build, negated(build, x), dim, keepdim))


@rule("max")
def _max(
    build: NetworkBuilder, x: Symbol, dim: Any = (), keepdim: bool = False
) -> tuple[Symbol, None] | Symbol:
    if not isinstance(dim, int):
        return _amax(build, x) if dim == () else _maximum(build, x, dim)
    return _amax(build, x, dim, keepdim), None


@dataclass(frozen=True, slots=True)
class Negative:
    """Where a symbol is below 0."""

    of: Symbol


@rule("lt")
def _below(build: NetworkBuilder, x: Symbol, limit: Value) -> Negative:
    """For :func:`_where`, which knows one use of it."""
    if not is_constant(limit) or not bool((torch.as_tensor(limit) == 0).all()):
        message = "a comparison with other numbers than 0 has no linear bounds"
        raise UnsupportedOperatorError(message)
    return Negative(x)


def _parametric_relu(build: NetworkBuilder, x: Symbol, steep: Symbol) -> Symbol:
    """``steep`` where x < 0, else x, for a multiple ``steep`` of x."""
    node = build.nodes[steep.at]
    if isinstance(node, Combination) and node.parents == (x.at,) and node.offset is None:
        (factor,) = node.factors
        build.constants.require_precise(steep.at, build.label)
        below = build.relu(build.combined([x], [-1]))
        return build.combined([x, below], [1, 1 - factor])
    message = "a choice by a comparison has no linear bounds"
    raise UnsupportedOperatorError(message)


@rule("where")
def _where(build: NetworkBuilder, mask: Value, x: Value, y: Value) -> Symbol:
    if isinstance(mask, Negative):
        if is_constant(x) or y != mask.of:
            message = "a choice by a comparison has no linear bounds"
            raise UnsupportedOperatorError(message)
        return _parametric_relu(build, y, x)
    chosen = known(mask, "where").double()
    parts: list[Value] = []
    for value, share in ((x, chosen), (y, 1 - chosen)):
        if is_constant(value):
            kept = torch.where(share > 0, torch.as_tensor(value).double(), 0.0)
            parts.append(kept)
        else:
            parts.append(build.combined([value], [share]))
    return added(build, *parts)
