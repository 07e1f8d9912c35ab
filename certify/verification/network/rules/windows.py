"""Rules of pooling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robcert.certify.errors import UnsupportedOperatorError

from ..selection import Select
from .table import rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..translate import NetworkBuilder, Symbol


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


def one_per_axis(values: Sequence[int] | int, n: int) -> list[int]:
    """``n`` numbers of which torch lets one stand for all."""
    listed = [values] if isinstance(values, int) else list(values)
    return listed * n if len(listed) == 1 else listed


def _pool_rule(name: str, n: int) -> None:
    operation = getattr(torch.ops.aten, name)

    @rule(name)
    def _max_pool(
        build: NetworkBuilder,
        x: Symbol,
        kernel: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> tuple[Symbol, None]:
        sides = [one_per_axis(value, n) for value in (kernel, stride or kernel, padding, dilation)]
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

    @rule(name)
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
        sides = [one_per_axis(value, n) for value in (kernel, stride or kernel, padding)]
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


@rule("_adaptive_avg_pool2d", "adaptive_avg_pool2d")
def _adaptive_average(build: NetworkBuilder, x: Symbol, size: Sequence[int]) -> Symbol:
    sides = x.shape[-2:]
    if any(side % out for side, out in zip(sides, size, strict=True)):
        message = "adaptive pooling with windows of different sizes has no linear bounds"
        raise UnsupportedOperatorError(message)
    kernel = [side // out for side, out in zip(sides, size, strict=True)]
    windows = _windows(sides, size, kernel, kernel, [0, 0], [1, 1])
    total = _window_sums(build, x, windows, 2)
    return build.combined([total], [1 / math.prod(kernel)])
