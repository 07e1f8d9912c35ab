"""Pooling: maximum, average, lp, local and global."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.errors import ModelFileError

from .arithmetic import raised
from .convolution import CONVOLUTIONS, _rank, extent_of, padded, padding_of
from .operator_table import operator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_POOLS: dict[int, Callable[..., Any]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
AVERAGE_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}

Padding = list[tuple[int, int]]


def _geometry(
    x: Tensor,
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    auto_pad: str,
    pads: Sequence[int],
) -> Padding:
    """Padding of every spatial axis of ``x``."""
    window = extent_of(kernel, dilations)
    return padding_of(x.shape[2:], window, strides=strides, auto_pad=auto_pad, pads=pads)


def _ceiling_excess(
    size: Sequence[int], window: Sequence[int], strides: Sequence[int], padding: Padding
) -> list[int]:
    """Elements to add behind each axis so that the last, incomplete window counts.

    A window that would begin in the padding behind the input is left out.
    """
    excess = []
    for length, extent, stride, (before, after) in zip(size, window, strides, padding, strict=True):
        steps = math.ceil((length + before + after - extent) / stride)
        if steps * stride >= length + before:
            steps -= 1
        excess.append(max(0, steps * stride + extent - (length + before + after)))
    return excess


def _widened(padding: Padding, excess: Sequence[int]) -> Padding:
    return [(b, e + more) for (b, e), more in zip(padding, excess, strict=True)]


@operator("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    storage_order: int = 0,
    strides: Sequence[int] = (),
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Greatest value in each window and, if requested, its position in the whole flat input."""
    n = _rank(x)
    strides, dilations = tuple(strides) or (1,) * n, tuple(dilations) or (1,) * n
    padding = _geometry(
        x, kernel_shape, strides=strides, dilations=dilations, auto_pad=auto_pad, pads=pads
    )
    if ceil_mode:
        window = extent_of(kernel_shape, dilations)
        padding = _widened(padding, _ceiling_excess(x.shape[2:], window, strides, padding))
    pool, kernel, kind = MAX_POOLS[n], tuple(kernel_shape), x.dtype
    if not x.is_floating_point():
        x = x.to(torch.float64)
    wide = padded(x, padding, value=-torch.inf)
    if n_outputs == 1:
        return (pool(wide, kernel, strides, 0, dilations).to(kind),)
    y, where = pool(wide, kernel, strides, 0, dilations, return_indices=True)
    flat = _flat_positions(where, x.shape, wide.shape, padding, column_major=bool(storage_order))
    return y.to(kind), flat


def _flat_positions(
    where: Tensor,
    shape: Sequence[int],
    wide: Sequence[int],
    padding: Padding,
    *,
    column_major: bool,
) -> Tensor:
    """Positions in the flat unpadded input of positions in each padded plane."""
    coordinates: list[Tensor] = []
    for length, (before, _) in zip(reversed(wide[2:]), reversed(padding), strict=True):
        coordinates.insert(0, where % length - before)
        where = torch.div(where, length, rounding_mode="floor")
    order = list(range(len(coordinates)))
    position, step = torch.zeros_like(where), 1
    for axis in order if column_major else reversed(order):
        position, step = position + coordinates[axis] * step, step * shape[2 + axis]
    plane = torch.arange(shape[0] * shape[1], device=where.device) * step
    return position + plane.reshape(shape[0], shape[1], *[1] * len(coordinates))


def _window_sums(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Tensor:
    """Sum over each window of ``x (b, c, ...)``, no padding."""
    n = len(kernel)
    if all(d == 1 for d in dilations):
        return AVERAGE_POOLS[n](x, tuple(kernel), tuple(strides)) * math.prod(kernel)
    planes = x.reshape(-1, 1, *x.shape[2:])
    ones = torch.ones(1, 1, *kernel, dtype=x.dtype, device=x.device)
    sums = CONVOLUTIONS[n](planes, ones, None, strides, 0, dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


@operator("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """Mean of each window, over the input alone or, if ``count_include_pad``, its padding too."""
    n = _rank(x)
    strides, dilations = tuple(strides) or (1,) * n, tuple(dilations) or (1,) * n
    padding = _geometry(
        x, kernel_shape, strides=strides, dilations=dilations, auto_pad=auto_pad, pads=pads
    )
    excess = [0] * n
    if ceil_mode:
        window = extent_of(kernel_shape, dilations)
        excess = _ceiling_excess(x.shape[2:], window, strides, padding)
    wide = padded(x, _widened(padding, excess))
    sums = _window_sums(wide, kernel_shape, strides, dilations)
    if not any(excess) and (count_include_pad or not any(p != (0, 0) for p in padding)):
        return sums / math.prod(kernel_shape)
    extents = [
        range(-before, length + after) if count_include_pad else range(length)
        for length, (before, after) in zip(x.shape[2:], padding, strict=True)
    ]
    counts = torch.ones((), dtype=torch.float64)
    for axis, inside in enumerate(extents):
        steps = range(0, kernel_shape[axis] * dilations[axis], dilations[axis])
        starts = [at * strides[axis] - padding[axis][0] for at in range(sums.shape[2 + axis])]
        counted = [sum(start + step in inside for step in steps) for start in starts]
        counts = counts[..., None] * torch.tensor(counted, dtype=torch.float64)
    return sums / counts.clamp_min(1).to(x.device, x.dtype)


@operator("LpPool", since=2)
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] = (),
    p: int = 2,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """The lp norm of each window."""
    n = _rank(x)
    strides, dilations = tuple(strides) or (1,) * n, tuple(dilations) or (1,) * n
    padding = _geometry(
        x, kernel_shape, strides=strides, dilations=dilations, auto_pad=auto_pad, pads=pads
    )
    if ceil_mode:
        window = extent_of(kernel_shape, dilations)
        padding = _widened(padding, _ceiling_excess(x.shape[2:], window, strides, padding))
    powers = padded(raised(x.abs(), p), padding)
    return raised(_window_sums(powers, kernel_shape, strides, dilations), 1 / p)


def spatial_axes(x: Tensor, *, channels_last: bool = False) -> tuple[int, ...]:
    """Axes of ``x`` beside batch and channels; there is one at least, as the runtime wants it."""
    if x.ndim < 3:
        message = f"global pooling needs spatial axes after batch and channels, got {x.ndim} axes"
        raise ModelFileError(message)
    return tuple(range(1, x.ndim - 1) if channels_last else range(2, x.ndim))


@operator("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    """Mean over all spatial axes, which stay with length 1."""
    return x.mean(spatial_axes(x), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    """Greatest value over all spatial axes, which stay with length 1."""
    return x.amax(spatial_axes(x), keepdim=True)


@operator("GlobalLpPool", since=2)
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    """The lp norm over all spatial axes, which stay with length 1."""
    sums = raised(x.abs(), p).sum(spatial_axes(x), keepdim=True)
    return raised(sums, 1 / p)
