"""Rules of batch, layer and group normalisation, l2 norms and softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.errors import UnsupportedOperatorError

from ..columns import OTHER_CHANNELS, other_channels
from .piecewise import absolute
from .smooth import function_rule, squared
from .sums import added, averaged, multiplied, negated, unsqueezed
from .table import rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..translate import NetworkBuilder, Symbol, Value


@rule("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def _batch_norm(
    build: NetworkBuilder,
    x: Symbol,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    *rest: Any,
) -> tuple[Symbol, None, None]:
    epsilon = build.attribute(float(rest[-1]))
    if len(rest) == 3 and rest[0]:
        message = "batch normalisation in training mode has no linear bounds"
        raise UnsupportedOperatorError(message)
    if bool((variance < 0).any()):  # what it has left of epsilon
        build.constants.meet_obstacle(build.label)
    if not build.constants.real and other_channels(build.nodes, x.at):
        build.constants.meet_obstacle(build.label, OTHER_CHANNELS)
    factor = 1 / (variance.double() + epsilon).sqrt()
    factor = factor if weight is None else factor * weight.double()
    shape = (1, -1, *[1] * (x.ndim - 2))
    # two operations, for the rounding errors of the mean's and of the bias's addition both count
    centred = build.combined([x], [1], -mean.double().view(shape))
    offset = None if bias is None else bias.view(shape)
    return build.combined([centred], [factor.view(shape)], offset), None, None


@rule("linalg_vector_norm")
def _vector_norm(
    build: NetworkBuilder,
    x: Symbol,
    order: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Symbol:
    """The square root of the sum of squares, or the sum of absolute values."""
    if order == 1:
        return build.summed(absolute(build, x), dim, keep=keepdim)
    if order != 2:
        message = "a norm other than l1 and l2 has no linear bounds"
        raise UnsupportedOperatorError(message)
    squares = build.summed(squared(build, x), dim, keep=keepdim)
    return function_rule("sqrt")(build, build.relu(squares))  # no bound of theirs is below 0


SOFTMAX_ERROR = 2.0**-18
"""Absolute error of a softmax in float32, exponentials of 8 units in the last place included.

With d_i = x_i - max x, rounding d_i changes exp(d_i) by |d_i| exp(d_i) u <= u / e.
"""


@rule("_softmax", "softmax", "_safe_softmax")
def _softmax(build: NetworkBuilder, x: Symbol, axis: int, *_: Any) -> Symbol:
    """1 / sum_j exp(x_j - x_i), which is the same and has tighter bounds."""
    return _of_exponentials(build, x, axis, "reciprocal")


@rule("_log_softmax", "log_softmax")
def _log_softmax(build: NetworkBuilder, x: Symbol, axis: int, *_: Any) -> Symbol:
    """-log sum_j exp(x_j - x_i)."""
    return negated(build, _of_exponentials(build, x, axis, "log"))


def _of_exponentials(build: NetworkBuilder, x: Symbol, axis: int, name: str) -> Symbol:
    """The function ``name`` of sum_j exp(x_j - x_i) in place of each x_i along ``axis``."""
    from ...relaxations import relaxation

    last = [a for a in range(x.ndim) if a != axis % x.ndim] + [axis % x.ndim]
    rows = build.permuted(x, last)
    n = rows.shape[-1]
    shape = (*rows.shape[:-1], n, n)
    own = build.expanded(unsqueezed(build, rows, rows.ndim), shape)
    others = build.expanded(unsqueezed(build, rows, rows.ndim - 1), shape)
    with build.parts():
        exponentials = function_rule("exp")(build, build.combined([others, own], [1, -1]))
        total = build.summed(exponentials, [-1], keep=False)
    error = (SOFTMAX_ERROR + (n + 16) * 2.0**-23, (n + 16) * 2.0**-23)
    found = build.activation(total, relaxation(name), error)
    return build.permuted(found, [last.index(a) for a in range(x.ndim)])


@rule("native_layer_norm")
def _layer_norm(
    build: NetworkBuilder,
    x: Symbol,
    shape: Sequence[int],
    weight: Value,
    bias: Value,
    epsilon: float,
) -> tuple[Symbol, None, None]:
    axes = list(range(x.ndim - len(shape), x.ndim))
    found = _standardised(build, x, axes, epsilon)
    found = found if weight is None else multiplied(build, found, weight)
    return found if bias is None else added(build, found, bias), None, None


def _standardised(build: NetworkBuilder, x: Symbol, axes: Sequence[int], epsilon: float) -> Symbol:
    epsilon = build.attribute(epsilon)
    updates = build.updates or build.source is None  # torch itself evaluates the model
    centred = build.combined([x, averaged(build, x, axes, keep=True, updates=updates)], [1, -1])
    variance = averaged(build, squared(build, centred), axes, keep=True, updates=updates)
    return build.product(
        centred, function_rule("rsqrt")(build, build.combined([variance], [1], epsilon))
    )


@rule("native_group_norm")
def _group_norm(
    build: NetworkBuilder,
    x: Symbol,
    weight: Value,
    bias: Value,
    n: int,
    channels: int,
    pixels: int,
    groups: int,
    epsilon: float,
) -> tuple[Symbol, None, None]:
    flat = build.reshaped(x, (n, groups, channels // groups * pixels))
    found = build.reshaped(_standardised(build, flat, [2], epsilon), x.shape)
    shape = (1, -1, *[1] * (x.ndim - 2))
    found = found if weight is None else multiplied(build, found, weight.view(shape))
    return found if bias is None else added(build, found, bias.view(shape)), None, None
