"""Rules of sums, products, convolutions and constants."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robcert.certify.errors import UnsupportedOperatorError

from ..convolution import Convolution
from .smooth import function_rule, squared
from .table import is_constant, known, rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..translate import NetworkBuilder, Symbol, Value


@rule("add", "add_")
def added(build: NetworkBuilder, x: Value, y: Value, alpha: float = 1) -> Symbol:
    """The sum of ``x`` and ``alpha`` times ``y``, one of which may be a constant."""
    if is_constant(y):
        return build.combined([x], [1], y * alpha)
    if is_constant(x):
        return build.combined([y], [alpha], x)
    if x == y:
        return build.combined([x], [1 + alpha])
    return build.combined([x, y], [1, alpha])


@rule("sub", "sub_")
def _sub(build: NetworkBuilder, x: Value, y: Value, alpha: float = 1) -> Symbol:
    return added(build, x, y, alpha=-alpha)


@rule("rsub")
def _rsub(build: NetworkBuilder, x: Value, y: Value, alpha: float = 1) -> Symbol:
    return added(build, y, x, alpha=-alpha)


@rule("neg")
def negated(build: NetworkBuilder, x: Symbol) -> Symbol:
    """The negative of each element."""
    return build.combined([x], [-1])


@rule("mul", "mul_")
def multiplied(build: NetworkBuilder, x: Value, y: Value) -> Symbol:
    """The product of each two elements, one of which may be a constant."""
    if is_constant(y):
        return build.combined([x], [y])
    if is_constant(x):
        return build.combined([y], [x])
    return squared(build, x) if x == y else build.product(x, y)


@rule("div", "div_")
def _div(build: NetworkBuilder, x: Value, y: Value, rounding_mode: str | None = None) -> Symbol:
    if rounding_mode is not None:
        message = "a division that rounds has no linear bounds"
        raise UnsupportedOperatorError(message)
    if is_constant(y):
        divisor = y.double() if isinstance(y, Tensor) else y
        return build.combined([x], [1 / divisor])
    return multiplied(build, x, function_rule("reciprocal")(build, y))


@rule("mm", "bmm", "matmul")
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
        left = x[..., :, None, :] if isinstance(x, Tensor) else unsqueezed(build, x, -2)
        turned = y.permute(axes) if isinstance(y, Tensor) else build.permuted(y, axes)
        right = (
            turned[..., None, :, :] if isinstance(turned, Tensor) else unsqueezed(build, turned, -3)
        )
        return build.summed(multiplied(build, left, right), [-1], keep=False)
    left = build.expanded(unsqueezed(build, x, -2), (*batch, n, m, k))
    right = build.expanded(unsqueezed(build, build.permuted(y, axes), -3), (*batch, n, m, k))
    return build.summed(build.product(left, right), [-1], keep=False)


def _same_matrix(x: Tensor) -> bool:
    return x.ndim == 3 and (len(x) == 1 or bool((x == x[:1]).all()))


def unsqueezed(build: NetworkBuilder, x: Symbol, axis: int) -> Symbol:
    """``x`` with a further axis of length 1."""
    shape = list(x.shape)
    shape.insert(axis % (x.ndim + 1), 1)
    return build.reshaped(x, shape)


@rule("addmm", "baddbmm")
def _addmm(
    build: NetworkBuilder, c: Value, x: Value, y: Value, beta: float = 1, alpha: float = 1
) -> Symbol:
    product = _matmul(build, x, y)
    if alpha != 1:
        product = build.combined([product], [alpha])
    return product if beta == 0 else added(build, product, c, alpha=beta)


@rule("linear")
def _linear(build: NetworkBuilder, x: Symbol, weight: Value, bias: Value = None) -> Symbol:
    product = build.dense(x, known(weight, "linear").t())
    return product if bias is None else added(build, product, bias)


@rule("convolution")
def _convolution(
    build: NetworkBuilder,
    x: Symbol,
    weight: Value,
    bias: Value,
    *how: Any,
) -> Symbol:
    stride, padding, dilation, transposed, output_padding, groups = how
    matrix = known(weight, "convolution").double()
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


@rule("sum")
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


@rule("mean")
def _mean(
    build: NetworkBuilder,
    x: Symbol,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Symbol:
    axes = [axis % x.ndim for axis in dim or range(x.ndim)]
    return averaged(build, x, axes, keep=keepdim, updates=build.updates)


def averaged(
    build: NetworkBuilder, x: Symbol, axes: Sequence[int], *, keep: bool, updates: bool
) -> Symbol:
    """The mean along ``axes``; ``updates``: as it may be updated element by element."""
    count = math.prod(x.shape[axis] for axis in axes)
    with build.further_roundings(UPDATES * count if updates else 0):
        total = build.summed(x, axes, keep=keep)
    return build.combined([total], [1 / count])


@rule("_to_copy", "to", "convert_element_type")
def _to_copy(build: NetworkBuilder, x: Symbol, dtype: Any = None, **_: Any) -> Symbol:
    if dtype not in (None, torch.float32, torch.float64):
        message = f"rounding to {dtype} inside the network has no linear bounds"
        raise UnsupportedOperatorError(message)
    rounds = build.wide and dtype is torch.float32
    return build.combined([x], [1]) if rounds else x


@rule("cumsum")
def _cumsum(build: NetworkBuilder, x: Symbol, axis: int, dtype: Any = None) -> Symbol:
    order = [a for a in range(x.ndim) if a != axis % x.ndim] + [axis % x.ndim]
    n = x.shape[axis % x.ndim]
    sums = build.dense(build.permuted(x, order), torch.ones(n, n, dtype=torch.float64).triu())
    return build.permuted(sums, [order.index(a) for a in range(x.ndim)])


def _constant_rule(name: str, *, sized: bool) -> None:
    operation = getattr(torch.ops.aten, name)

    @rule(name)
    def _constant(build: NetworkBuilder, x: Symbol, *how: Any, **words: Any) -> Tensor:
        like = torch.zeros(1 if sized else x.shape)  # of the argument nothing but its shape counts
        return operation(like, *how, **words)


for _name in ("zeros_like", "ones_like", "full_like"):
    _constant_rule(_name, sized=False)


for _name in ("new_zeros", "new_ones", "new_full"):
    _constant_rule(_name, sized=True)
