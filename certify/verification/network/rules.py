"""What each operation of torch becomes in a :class:`Network`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robcert.certify.errors import UnsupportedOperatorError

from .columns import OTHER_CHANNELS, other_channels
from .combination import Combination
from .convolution import Convolution
from .precision import UNIT
from .selection import Select

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .translate import NetworkBuilder, Symbol, Value

MOVES = frozenset(
    {
        *("_unsafe_view", "alias", "as_strided_scatter", "cat", "channel_shuffle", "chunk"),
        *("clone", "constant_pad_nd", "contiguous", "copy", "detach", "diagonal"),
        *("diagonal_scatter", "expand", "flip", "gather", "im2col", "index", "index_select"),
        *("lift_fresh", "lift_fresh_copy", "movedim", "permute", "pixel_shuffle"),
        *("pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "repeat", "replication_pad1d"),
        *("replication_pad2d", "reshape", "roll", "select", "select_scatter", "slice"),
        *("slice_scatter", "split", "split_with_sizes", "squeeze", "stack", "t", "transpose"),
        *("tril", "triu", "unbind", "unfold", "unsqueeze", "upsample_nearest1d"),
        *("upsample_nearest2d", "upsample_nearest3d", "view"),
    }
)
"""Operations each of whose outputs is an element of an argument or a constant."""

Rule = Any
RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def enter(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return enter


def _is_constant(value: Value) -> bool:
    return isinstance(value, Tensor | int | float)


def _known(value: Value, operation: str) -> Value:
    if not _is_constant(value):
        message = f"operation {operation!r} has no linear bounds where all its arguments change"
        raise UnsupportedOperatorError(message)
    return value


# --- sums and products ---------------------------------------------------------------------


@_rule("add", "add_")
def _add(build: NetworkBuilder, x: Value, y: Value, alpha: float = 1) -> Symbol:
    if _is_constant(y):
        return build.combined([x], [1], y * alpha)
    if _is_constant(x):
        return build.combined([y], [alpha], x)
    if x == y:
        return build.combined([x], [1 + alpha])
    return build.combined([x, y], [1, alpha])


@_rule("sub", "sub_")
def _sub(build: NetworkBuilder, x: Value, y: Value, alpha: float = 1) -> Symbol:
    return _add(build, x, y, alpha=-alpha)


@_rule("rsub")
def _rsub(build: NetworkBuilder, x: Value, y: Value, alpha: float = 1) -> Symbol:
    return _add(build, y, x, alpha=-alpha)


@_rule("neg")
def _neg(build: NetworkBuilder, x: Symbol) -> Symbol:
    return build.combined([x], [-1])


@_rule("mul", "mul_")
def _mul(build: NetworkBuilder, x: Value, y: Value) -> Symbol:
    if _is_constant(y):
        return build.combined([x], [y])
    if _is_constant(x):
        return build.combined([y], [x])
    return _square(build, x) if x == y else build.product(x, y)


@_rule("div", "div_")
def _div(build: NetworkBuilder, x: Value, y: Value, rounding_mode: str | None = None) -> Symbol:
    if rounding_mode is not None:
        message = "a division that rounds has no linear bounds"
        raise UnsupportedOperatorError(message)
    if _is_constant(y):
        divisor = y.double() if isinstance(y, Tensor) else y
        return build.combined([x], [1 / divisor])
    return _mul(build, x, _function("reciprocal")(build, y))


@_rule("mm", "bmm", "matmul")
def _matmul(build: NetworkBuilder, x: Value, y: Value) -> Symbol:
    if isinstance(y, Tensor) and (y.ndim == 2 or _same_matrix(y)):
        return build.dense(x, y if y.ndim == 2 else y[0])
    if isinstance(x, Tensor) and (x.ndim == 2 or _same_matrix(x)):
        axes = [*range(y.ndim - 2), y.ndim - 1, y.ndim - 2]
        matrix = x if x.ndim == 2 else x[0]
        return build.permuted(build.dense(build.permuted(y, axes), matrix.t()), axes)
    *batch, n, k = x.shape
    m = y.shape[-1]
    axes = [*range(y.ndim - 2), y.ndim - 1, y.ndim - 2]
    if isinstance(y, Tensor) or isinstance(x, Tensor):  # a matrix for each batch
        left = x[..., :, None, :] if isinstance(x, Tensor) else _unsqueezed(build, x, -2)
        turned = y.permute(axes) if isinstance(y, Tensor) else build.permuted(y, axes)
        right = (
            turned[..., None, :, :]
            if isinstance(turned, Tensor)
            else _unsqueezed(build, turned, -3)
        )
        return build.summed(_mul(build, left, right), [-1], keep=False)
    left = build.expanded(_unsqueezed(build, x, -2), (*batch, n, m, k))
    right = build.expanded(_unsqueezed(build, build.permuted(y, axes), -3), (*batch, n, m, k))
    return build.summed(build.product(left, right), [-1], keep=False)


def _same_matrix(x: Tensor) -> bool:
    return x.ndim == 3 and (len(x) == 1 or bool((x == x[:1]).all()))


def _unsqueezed(build: NetworkBuilder, x: Symbol, axis: int) -> Symbol:
    shape = list(x.shape)
    shape.insert(axis % (x.ndim + 1), 1)
    return build.reshaped(x, shape)


@_rule("addmm", "baddbmm")
def _addmm(
    build: NetworkBuilder, c: Value, x: Value, y: Value, beta: float = 1, alpha: float = 1
) -> Symbol:
    product = _matmul(build, x, y)
    if alpha != 1:
        product = build.combined([product], [alpha])
    return product if beta == 0 else _add(build, product, c, alpha=beta)


@_rule("linear")
def _linear(build: NetworkBuilder, x: Symbol, weight: Value, bias: Value = None) -> Symbol:
    product = build.dense(x, _known(weight, "linear").t())
    return product if bias is None else _add(build, product, bias)


@_rule("convolution")
def _convolution(
    build: NetworkBuilder,
    x: Symbol,
    weight: Value,
    bias: Value,
    *how: Any,
) -> Symbol:
    stride, padding, dilation, transposed, output_padding, groups = how
    matrix = _known(weight, "convolution").double()
    found = torch.convolution(torch.zeros(x.shape, dtype=torch.float64), matrix, None, *how)
    window = math.prod(matrix.shape[2:])
    fan_in = (matrix.shape[0] // groups if transposed else matrix.shape[1]) * window
    fan_out = (matrix.shape[1] if transposed else matrix.shape[0] // groups) * window
    node = Convolution(
        (x.at,),
        tuple(found.shape),
        build.label,
        fan_in,
        fan_out,
        build.constants.weight(matrix),
        tuple(stride),
        tuple(padding),
        tuple(dilation),
        transposed,
        tuple(output_padding),
        groups,
        x.shape,
    )
    product = build.affine(node)
    if bias is None:
        return product
    return build.combined([product], [1], bias.view(1, -1, *[1] * len(stride)))


@_rule("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
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


@_rule("sum")
def _sum(
    build: NetworkBuilder,
    x: Symbol,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Symbol:
    return build.summed(x, dim, keep=keepdim)


UPDATES = 8
"""Roundings per element of a mean and a variance that are updated element by element (Welford
1962), as torch computes them on the CPU and ONNX Runtime by CUDA."""


@_rule("mean")
def _mean(
    build: NetworkBuilder,
    x: Symbol,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Symbol:
    axes = [axis % x.ndim for axis in dim or range(x.ndim)]
    return _averaged(build, x, axes, keep=keepdim, updates=build.updates)


def _averaged(
    build: NetworkBuilder, x: Symbol, axes: Sequence[int], *, keep: bool, updates: bool
) -> Symbol:
    """The mean along ``axes``; ``updates``: as it may be updated element by element."""
    count = math.prod(x.shape[axis] for axis in axes)
    with build.further_roundings(UPDATES * count if updates else 0):
        total = build.summed(x, axes, keep=keep)
    return build.combined([total], [1 / count])


@_rule("_to_copy", "to", "convert_element_type")
def _to_copy(build: NetworkBuilder, x: Symbol, dtype: Any = None, **_: Any) -> Symbol:
    if dtype not in (None, torch.float32, torch.float64):
        message = f"rounding to {dtype} inside the network has no linear bounds"
        raise UnsupportedOperatorError(message)
    rounds = build.wide and dtype is torch.float32
    return build.combined([x], [1]) if rounds else x


@dataclass(frozen=True, slots=True)
class Negative:
    """Where a symbol is below 0."""

    of: Symbol


@_rule("lt")
def _below(build: NetworkBuilder, x: Symbol, limit: Value) -> Negative:
    """For :func:`_where`, which knows one use of it."""
    if not _is_constant(limit) or not bool((torch.as_tensor(limit) == 0).all()):
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


@_rule("cumsum")
def _cumsum(build: NetworkBuilder, x: Symbol, axis: int, dtype: Any = None) -> Symbol:
    order = [a for a in range(x.ndim) if a != axis % x.ndim] + [axis % x.ndim]
    n = x.shape[axis % x.ndim]
    sums = build.dense(build.permuted(x, order), torch.ones(n, n, dtype=torch.float64).triu())
    return build.permuted(sums, [order.index(a) for a in range(x.ndim)])


@_rule("where")
def _where(build: NetworkBuilder, mask: Value, x: Value, y: Value) -> Symbol:
    if isinstance(mask, Negative):
        if _is_constant(x) or y != mask.of:
            message = "a choice by a comparison has no linear bounds"
            raise UnsupportedOperatorError(message)
        return _parametric_relu(build, y, x)
    chosen = _known(mask, "where").double()
    parts: list[Value] = []
    for value, share in ((x, chosen), (y, 1 - chosen)):
        if _is_constant(value):
            kept = torch.where(share > 0, torch.as_tensor(value).double(), 0.0)
            parts.append(kept)
        else:
            parts.append(build.combined([value], [share]))
    return _add(build, *parts)


def _constant_rule(name: str, *, sized: bool) -> None:
    operation = getattr(torch.ops.aten, name)

    @_rule(name)
    def _constant(build: NetworkBuilder, x: Symbol, *how: Any, **words: Any) -> Tensor:
        like = torch.zeros(1 if sized else x.shape)  # of the argument nothing but its shape counts
        return operation(like, *how, **words)


for _name in ("zeros_like", "ones_like", "full_like"):
    _constant_rule(_name, sized=False)
for _name in ("new_zeros", "new_ones", "new_full"):
    _constant_rule(_name, sized=True)


# --- windows -------------------------------------------------------------------------------


def _windows(
    shape: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Element numbers of every window ``(*out, k)`` of one channel; -1 in the padding."""
    number = torch.zeros(*out, *kernel, dtype=torch.long)
    inside = torch.ones_like(number, dtype=torch.bool)
    n = len(out)
    for axis in range(n):
        start = torch.arange(out[axis]) * stride[axis] - padding[axis]
        step = torch.arange(kernel[axis]) * dilation[axis]
        at = start.view(-1, *[1] * (2 * n - axis - 1)) + step.view(-1, *[1] * (n - axis - 1))
        number = number * shape[axis] + at
        inside &= (at >= 0) & (at < shape[axis])
    return torch.where(inside, number, -1).flatten(n)


def _in_all_channels(x: Symbol, windows: Tensor, n: int) -> Tensor:
    """Element numbers ``(*leading, *out, k)`` of windows in each channel."""
    leading = x.shape[:-n]
    size = math.prod(x.shape[-n:])
    starts = torch.arange(math.prod(leading)).view(*leading, *[1] * windows.ndim) * size
    return torch.where(windows >= 0, windows + starts, -1)


def _behind_padding(build: NetworkBuilder, x: Symbol, index: Tensor) -> tuple[Symbol, Tensor]:
    """Element numbers ``index`` of ``x`` as those of what it was before padding by -inf."""
    node = build.nodes[x.at]
    if not isinstance(node, Select) or node.offset is None or len(node.parents) != 1:
        return x, index
    constants = node.offset[node.index < 0]
    if not bool((constants == -torch.inf).all()):
        return x, index
    source = type(x)(node.parents[0], node.shapes[0])
    return source, torch.where(index >= 0, node.index.flatten()[index.clamp_min(0)], -1)


def _wide(values: Sequence[int] | int, n: int) -> list[int]:
    listed = [values] if isinstance(values, int) else list(values)
    return listed * n if len(listed) == 1 else listed


def _pool_rule(name: str, n: int) -> None:
    operation = getattr(torch.ops.aten, name)

    @_rule(name)
    def _max_pool(
        build: NetworkBuilder,
        x: Symbol,
        kernel: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> tuple[Symbol, None]:
        sides = [_wide(value, n) for value in (kernel, stride or kernel, padding, dilation)]
        like = torch.zeros(x.shape)
        found = operation(like, *sides, ceil_mode)
        out = (found[0] if isinstance(found, tuple) else found).shape[-n:]
        windows = _windows(x.shape[-n:], out, *sides)
        source, index = _behind_padding(build, x, _in_all_channels(x, windows, n))
        last = index.max() + 1
        first = torch.where(index >= 0, index, last).amin(-1, keepdim=True)
        if bool((first == last).any()):
            message = "a window of a max pooling lies in the padding alone: no linear bounds"
            raise UnsupportedOperatorError(message)
        filled = torch.where(index >= 0, index, first)  # a copy changes no maximum
        return build.largest(build.select([source], filled)), None


for _n, _name in enumerate(
    ("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices"), 1
):
    if hasattr(torch.ops.aten, _name):
        _pool_rule(_name, _n)


def _average_rule(name: str, n: int) -> None:
    operation = getattr(torch.ops.aten, name)

    @_rule(name)
    def _average_pool(
        build: NetworkBuilder,
        x: Symbol,
        kernel: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Symbol:
        sides = [_wide(value, n) for value in (kernel, stride or kernel, padding)]
        more = [] if n == 1 else [divisor_override]
        like = torch.ones(x.shape, dtype=torch.float64)
        found = operation(like, *sides, ceil_mode, count_include_pad, *more)
        kernel, stride, padding = sides
        windows = _windows(x.shape[-n:], found.shape[-n:], kernel, stride, padding, [1] * n)
        total = _window_sums(build, x, windows, n)
        inside = (windows >= 0).sum(-1).double()
        return build.combined([total], [found / inside])


for _n, _name in enumerate(("avg_pool1d", "avg_pool2d", "avg_pool3d"), 1):
    _average_rule(_name, _n)


def _window_sums(build: NetworkBuilder, x: Symbol, windows: Tensor, n: int) -> Symbol:
    index = _in_all_channels(x, windows, n)
    offset = None if bool((index >= 0).all()) else torch.zeros(index.shape, dtype=torch.float64)
    return build.summed(build.select([x], index, offset), [-1], keep=False)


@_rule("_adaptive_avg_pool2d", "adaptive_avg_pool2d")
def _adaptive_average(build: NetworkBuilder, x: Symbol, size: Sequence[int]) -> Symbol:
    sides = x.shape[-2:]
    if any(side % out for side, out in zip(sides, size, strict=True)):
        message = "adaptive pooling with windows of different sizes has no linear bounds"
        raise UnsupportedOperatorError(message)
    kernel = [side // out for side, out in zip(sides, size, strict=True)]
    windows = _windows(sides, size, kernel, kernel, [0, 0], [1, 1])
    total = _window_sums(build, x, windows, 2)
    return build.combined([total], [1 / math.prod(kernel)])


# --- piecewise linear functions ------------------------------------------------------------


@_rule("relu", "relu_")
def _relu(build: NetworkBuilder, x: Symbol) -> Symbol:
    return build.relu(x)


@_rule("leaky_relu", "leaky_relu_")
def _leaky_relu(build: NetworkBuilder, x: Symbol, slope: float = 0.01) -> Symbol:
    return build.combined([x, build.relu(x)], [slope, 1 - slope])


@_rule("_prelu_kernel", "prelu")
def _prelu(build: NetworkBuilder, x: Symbol, slope: Value) -> Symbol:
    steep = _known(slope, "prelu").double()
    if steep.ndim == 1 and x.ndim > 2:
        steep = steep.view(-1, *[1] * (x.ndim - 2))
    return build.combined([x, build.relu(x)], [steep, 1 - steep])


@_rule("abs", "abs_")
def _abs(build: NetworkBuilder, x: Symbol) -> Symbol:
    with build.parts():
        return build.combined([build.relu(x), x], [2, -1])


@_rule("clamp", "clamp_")
def _clamp(
    build: NetworkBuilder, x: Symbol, low: Value = None, high: Value = None, **words: Value
) -> Symbol:
    low, high = words.get("min", low), words.get("max", high)
    with build.parts():
        if low is not None:  # low + relu(x - low)
            below = _add(build, x, _known(low, "clamp"), alpha=-1)
            x = build.combined([build.relu(below)], [1], low)
        if high is not None:  # high - relu(high - x)
            above = build.combined([x], [-1], _known(high, "clamp"))
            x = build.combined([build.relu(above)], [-1], high)
    return x


@_rule("hardtanh", "hardtanh_")
def _hardtanh(build: NetworkBuilder, x: Symbol, low: Value = -1.0, high: Value = 1.0) -> Symbol:
    return _clamp(build, x, low, high)


@_rule("clamp_min", "clamp_min_")
def _clamp_min(build: NetworkBuilder, x: Symbol, low: Value) -> Symbol:
    return _clamp(build, x, low)


@_rule("clamp_max", "clamp_max_")
def _clamp_max(build: NetworkBuilder, x: Symbol, high: Value) -> Symbol:
    return _clamp(build, x, None, high)


@_rule("relu6")
def _relu6(build: NetworkBuilder, x: Symbol) -> Symbol:
    return _clamp(build, x, 0.0, 6.0)


@_rule("hardsigmoid", "hardsigmoid_")
def _hardsigmoid(build: NetworkBuilder, x: Symbol) -> Symbol:
    return _clamp(build, build.combined([x], [1 / 6], 0.5), 0.0, 1.0)


@_rule("maximum")
def _maximum(build: NetworkBuilder, x: Value, y: Value) -> Symbol:
    if _is_constant(x):
        x, y = y, x
    with build.parts():
        found = _add(build, build.relu(_add(build, x, y, alpha=-1)), y)
    return _limited(build, found)


@_rule("minimum")
def _minimum(build: NetworkBuilder, x: Value, y: Value) -> Symbol:
    if _is_constant(x):
        x, y = y, x
    with build.parts():
        found = _add(build, x, build.relu(_add(build, x, y, alpha=-1)), alpha=-1)
    return _limited(build, found)


def _limited(build: NetworkBuilder, x: Symbol) -> Symbol:
    """``x``, whose limit may be off by the further roundings of the current operation.

    Where such an error changes anything the output is the limit, and the error relative to it.
    """
    from ..relaxations import relaxation

    count = build.constants.roundings
    if not count:
        return x
    return build.activation(x, relaxation("pow", exponent=1.0), (0.0, 1.01 * count * UNIT))


@_rule("amax")
def _amax(build: NetworkBuilder, x: Symbol, dim: Any = (), keepdim: bool = False) -> Symbol:
    axes = _wide(dim, 1) if dim != () else list(range(x.ndim))
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


@_rule("amin")
def _amin(build: NetworkBuilder, x: Symbol, dim: Any = (), keepdim: bool = False) -> Symbol:
    return _neg(build, _amax(build, _neg(build, x), dim, keepdim))


@_rule("max")
def _max(
    build: NetworkBuilder, x: Symbol, dim: Any = (), keepdim: bool = False
) -> tuple[Symbol, None] | Symbol:
    if not isinstance(dim, int):
        return _amax(build, x) if dim == () else _maximum(build, x, dim)
    return _amax(build, x, dim, keepdim), None


# --- smooth functions ----------------------------------------------------------------------


FUNCTION_ERROR = 2.0**-20
"""Error in float32 of a function with values near 1, and relative error of others."""

TAIL_ERROR = 2.0**-18
"""Absolute error in float32 of x times a function with values in [0, 1], off by a few units
of 1 in the last place: ONNX Runtime's GELU gives 0 where it is -1e-7."""

GATED = frozenset({"silu", "mish", "hardswish"})
"""Such functions without parameters."""


def _activation(
    build: NetworkBuilder,
    x: Symbol,
    name: str,
    absolute: float | None = None,
    **parameters: float,
) -> Symbol:
    """A function of each element, with the absolute error of its evaluation in float32."""
    from ..relaxations import relaxation

    error = None if absolute is None else (absolute, FUNCTION_ERROR)
    return build.activation(x, relaxation(name, **parameters), error)


def _function(name: str) -> Callable[..., Symbol]:
    """Rule of an elementwise function without parameters."""

    def apply(build: NetworkBuilder, x: Symbol, *more: Any, **words: Any) -> Symbol:
        if more or words:  # such as the number of decimals to which it rounds
            message = f"operation {name!r} with options has no linear bounds"
            raise UnsupportedOperatorError(message)
        return _activation(build, x, name, TAIL_ERROR if name in GATED else None)

    return apply


for _name in (
    *("sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "reciprocal", "erf", "silu", "hardswish"),
    *("mish", "sin", "cos", "atan", "asinh", "sinh", "cosh", "sign", "floor", "ceil", "round"),
):
    _rule(_name, f"{_name}_")(_function(_name))


@_rule("square")
def _square(build: NetworkBuilder, x: Symbol) -> Symbol:
    return _function("square")(build, x)


POWER_ROUNDINGS = 16
"""Relative error in float32 of a power with a small exponent, in units of :data:`FUNCTION_ERROR`.

Runtimes multiply, which has p - 1 roundings, or compute exp(p log x): the rounding of an exponent
of at most 89 = log(3e38) changes its exponential by 89 units of rounding, that of a logarithm near
0 changes it by p of them.
"""


@_rule("pow")
def _pow(build: NetworkBuilder, x: Value, exponent: Value) -> Symbol:
    power = float(_known(exponent, "pow"))
    if power == 1:
        return x
    if power == 2:
        return _square(build, x)
    from ..relaxations import relaxation

    error = (FUNCTION_ERROR, FUNCTION_ERROR * (POWER_ROUNDINGS + abs(power)))
    return build.activation(x, relaxation("pow", exponent=power), error)


@_rule("gelu")
def _gelu(build: NetworkBuilder, x: Symbol, approximate: str = "none") -> Symbol:
    return _activation(build, x, "gelu" if approximate == "none" else "gelu_tanh", TAIL_ERROR)


@_rule("softplus")
def _softplus(build: NetworkBuilder, x: Symbol, beta: float = 1, threshold: float = 20) -> Symbol:
    if threshold < 20:  # beyond it torch gives x, which then is not nearly the function
        message = "softplus with a low threshold has no linear bounds"
        raise UnsupportedOperatorError(message)
    return _activation(build, x, "softplus", FUNCTION_ERROR / beta, beta=float(beta))


@_rule("elu", "elu_")
def _elu(
    build: NetworkBuilder, x: Symbol, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> Symbol:
    scale_error = FUNCTION_ERROR * max(1.0, abs(alpha))  # of e^x - 1
    # the negative side alone has the input's scale
    if input_scale == 1:
        found = _activation(build, x, "elu", scale_error, alpha=float(alpha))
    elif alpha > 0 and input_scale == 1 / alpha:
        found = _activation(build, x, "celu", scale_error, alpha=float(alpha))
    else:
        message = "this form of ELU has no linear bounds"
        raise UnsupportedOperatorError(message)
    return found if scale == 1 else build.combined([found], [scale])


@_rule("celu", "celu_")
def _celu(build: NetworkBuilder, x: Symbol, alpha: float = 1) -> Symbol:
    return _elu(build, x, alpha, input_scale=1 / alpha)


@_rule("log_sigmoid_forward")
def _log_sigmoid(build: NetworkBuilder, x: Symbol) -> tuple[Symbol, None]:
    return _function("log_sigmoid")(build, x), None


SOFTMAX_ERROR = 2.0**-18
"""Absolute error of a softmax in float32, exponentials of 8 units in the last place included.

With d_i = x_i - max x, rounding d_i changes exp(d_i) by |d_i| exp(d_i) u <= u / e.
"""


@_rule("_softmax", "softmax", "_safe_softmax")
def _softmax(build: NetworkBuilder, x: Symbol, axis: int, *_: Any) -> Symbol:
    """1 / sum_j exp(x_j - x_i), which is the same and has tighter bounds."""
    return _of_exponentials(build, x, axis, "reciprocal")


@_rule("_log_softmax", "log_softmax")
def _log_softmax(build: NetworkBuilder, x: Symbol, axis: int, *_: Any) -> Symbol:
    """-log sum_j exp(x_j - x_i)."""
    return _neg(build, _of_exponentials(build, x, axis, "log"))


def _of_exponentials(build: NetworkBuilder, x: Symbol, axis: int, name: str) -> Symbol:
    """The function ``name`` of sum_j exp(x_j - x_i) in place of each x_i along ``axis``."""
    from ..relaxations import relaxation

    last = [a for a in range(x.ndim) if a != axis % x.ndim] + [axis % x.ndim]
    rows = build.permuted(x, last)
    n = rows.shape[-1]
    shape = (*rows.shape[:-1], n, n)
    own = build.expanded(_unsqueezed(build, rows, rows.ndim), shape)
    others = build.expanded(_unsqueezed(build, rows, rows.ndim - 1), shape)
    with build.parts():
        exponentials = _function("exp")(build, build.combined([others, own], [1, -1]))
        total = build.summed(exponentials, [-1], keep=False)
    error = (SOFTMAX_ERROR + (n + 16) * 2.0**-23, (n + 16) * 2.0**-23)
    found = build.activation(total, relaxation(name), error)
    return build.permuted(found, [last.index(a) for a in range(x.ndim)])


@_rule("native_layer_norm")
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
    found = found if weight is None else _mul(build, found, weight)
    return found if bias is None else _add(build, found, bias), None, None


def _standardised(build: NetworkBuilder, x: Symbol, axes: Sequence[int], epsilon: float) -> Symbol:
    epsilon = build.attribute(epsilon)
    updates = build.updates or build.source is None  # torch itself evaluates the model
    centred = build.combined([x, _averaged(build, x, axes, keep=True, updates=updates)], [1, -1])
    variance = _averaged(build, _square(build, centred), axes, keep=True, updates=updates)
    return build.product(
        centred, _function("rsqrt")(build, build.combined([variance], [1], epsilon))
    )


@_rule("native_group_norm")
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
    found = found if weight is None else _mul(build, found, weight.view(shape))
    return found if bias is None else _add(build, found, bias.view(shape)), None, None
