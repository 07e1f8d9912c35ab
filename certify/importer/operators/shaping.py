"""Operators that move entries and compute shapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.errors import ModelFileError

from .common import Ints, axes_within, checked_size, floats, ints, scalar
from .operator_table import operator

if TYPE_CHECKING:
    from collections.abc import Sequence


@operator("Identity")
def identity(x: Tensor) -> Tensor:
    """``x``."""
    return x


@operator("Reshape", since=5, host=("shape",))
def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """``x`` in another shape; 0 copies an axis unless ``allowzero``, -1 is worked out."""
    target = ints(shape)
    if not allowzero:
        target = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(target))
    return x.reshape(target)


@operator("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix: axes before ``axis`` become rows, the others columns."""
    first = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:first]), math.prod(x.shape[first:]))


@operator("Transpose")
def transpose(x: Tensor, *, perm: Sequence[int] = ()) -> Tensor:
    """Axes in another order; reversed by default."""
    return x.permute(tuple(perm) or tuple(reversed(range(x.ndim))))


@operator("Squeeze")
def squeeze_by_attribute(x: Tensor, *, axes: Sequence[int] = ()) -> Tensor:
    """``x`` without the given axes of length 1, or without all of them."""
    chosen = axes_within(axes, x.ndim) or tuple(i for i, n in enumerate(x.shape) if n == 1)
    if any(x.shape[axis] != 1 for axis in chosen):
        message = f"Squeeze of axes {list(chosen)} in a tensor of shape {list(x.shape)}"
        raise ModelFileError(message)
    return x.reshape([n for i, n in enumerate(x.shape) if i not in chosen])


@operator("Squeeze", since=13, host=("axes",))
def squeeze(x: Tensor, axes: Ints = None) -> Tensor:
    """``x`` without the given axes of length 1, or without all of them."""
    return squeeze_by_attribute(x, axes=ints(axes))


@operator("Unsqueeze")
def unsqueeze_by_attribute(x: Tensor, *, axes: Sequence[int]) -> Tensor:
    """``x`` with axes of length 1 at the given places of the result."""
    n_axes = x.ndim + len(axes)
    places, lengths = axes_within(axes, n_axes), iter(x.shape)
    return x.reshape([1 if i in places else next(lengths) for i in range(n_axes)])


@operator("Unsqueeze", since=13, host=("axes",))
def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    """``x`` with axes of length 1 at the given places of the result."""
    return unsqueeze_by_attribute(x, axes=ints(axes))


@operator("Concat")
def concatenation_by_default(*values: Tensor, axis: int = 1) -> Tensor:
    """Tensors one after the other along an axis, which had a default before version 4."""
    return concatenation(*values, axis=axis)


@operator("Concat", since=4)
def concatenation(*values: Tensor, axis: int) -> Tensor:
    """Tensors one after the other along an axis."""
    kind = values[0].dtype
    for value in values[1:]:
        kind = torch.promote_types(kind, value.dtype)
    return torch.cat([value.to(kind) for value in values], axis)


@operator("Split", since=2)
def split_by_attribute(
    x: Tensor, *, axis: int = 0, split: Sequence[int] = (), n_outputs: int = 1
) -> tuple[Tensor, ...]:
    """``x`` cut along an axis into the given lengths, or into equal parts."""
    length = x.shape[axis]
    part = math.ceil(length / n_outputs)
    equal = [max(0, min(part, length - i * part)) for i in range(n_outputs)]
    return torch.split(x, list(split) or equal, axis)


@operator("Split", since=13, host=("split",), ignore=("num_outputs",))
def split(
    x: Tensor, split: Ints = None, *, axis: int = 0, n_outputs: int = 1
) -> tuple[Tensor, ...]:
    """``x`` cut along an axis into the given lengths, or into equal parts."""
    return split_by_attribute(x, axis=axis, split=ints(split), n_outputs=n_outputs)


@operator("Slice")
def slice_by_attributes(
    x: Tensor, *, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int] = ()
) -> Tensor:
    """Part of x from ``starts`` to before ``ends``."""
    return slice_(x, starts, ends, tuple(axes) or None)


@operator("Slice", since=10, host=("starts", "ends", "axes", "steps"))
def slice_(x: Tensor, starts: Ints, ends: Ints, axes: Ints = None, steps: Ints = None) -> Tensor:
    """Part of x from ``starts`` to before ``ends``, every ``steps``-th entry, backwards if < 0."""
    begins, stops = ints(starts), ints(ends)
    chosen = axes_within(ints(axes) or range(len(begins)), x.ndim)
    strides = ints(steps) or (1,) * len(begins)
    for axis, start, stop, step in zip(chosen, begins, stops, strides, strict=True):
        entries = range(*slice(start, stop, step).indices(x.shape[axis]))
        if step < 0:
            entries = range(entries[-1], entries[0] + 1, -step) if entries else range(0)
        here = (slice(None),) * axis + (slice(entries.start, entries.stop, entries.step),)
        x = x[here].flip(axis) if step < 0 else x[here]
    return x


@operator("Expand", host=("shape",))
def expand(x: Tensor, shape: Ints) -> Tensor:
    """``x`` broadcast to a shape and its own."""
    target = torch.broadcast_shapes(x.shape, ints(shape))  # type: ignore[no-untyped-call]
    return x.expand(checked_size(target))


@operator("Tile", since=6, host=("repeats",))
def tile(x: Tensor, repeats: Ints) -> Tensor:
    """``x`` repeated along each axis."""
    times = ints(repeats)
    checked_size([n * r for n, r in zip(x.shape, times, strict=True)])
    return x.repeat(times)


@operator("Pad", since=2)
def pad_by_attributes(
    x: Tensor, *, pads: Sequence[int], mode: str = "constant", value: float = 0.0
) -> Tensor:
    """``x`` with a margin; negative margins crop."""
    return pad(x, pads, value, mode=mode)


@operator("Pad", since=11, host=("pads", "axes"), limits=("value",))
def pad(
    x: Tensor,
    pads: Ints,
    value: Tensor | float | None = None,
    axes: Ints = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """``x`` with a margin filled by ``value`` or from x itself; negative margins crop."""
    chosen = axes_within(ints(axes), x.ndim) or tuple(range(x.ndim))
    margins, n = ints(pads), len(chosen)
    before = {axis: margins[i] for i, axis in enumerate(chosen)}
    after = {axis: margins[n + i] for i, axis in enumerate(chosen)}
    checked_size([s + before.get(i, 0) + after.get(i, 0) for i, s in enumerate(x.shape)])
    if mode == "constant":
        pairs = [m for i in reversed(range(x.ndim)) for m in (before.get(i, 0), after.get(i, 0))]
        if isinstance(value, Tensor) and (filling := scalar(value, x)) is not None:
            inside = functional.pad(torch.ones(x.shape, dtype=torch.bool, device=x.device), pairs)
            return torch.where(inside, functional.pad(x, pairs), filling)
        (fill,) = floats(value) or (0.0,)
        return functional.pad(x, pairs, value=fill if x.is_floating_point() else int(fill))
    for axis in chosen:
        if before[axis] or after[axis]:
            entries = _margin(x.shape[axis], before[axis], after[axis], mode=mode)
            x = x.index_select(axis, entries.to(x.device))
    return x


def _margin(length: int, before: int, after: int, *, mode: str) -> Tensor:
    """Which entries of an axis fill it and its margins."""
    first, last = max(0, -before), length - max(0, -after)
    n = last - first
    place = torch.arange(-max(0, before), n + max(0, after))
    if mode == "edge":
        return place.clamp(0, n - 1) + first
    if mode == "wrap":
        return place.remainder(n) + first
    if mode == "reflect":
        period = max(1, 2 * (n - 1))
        place = place.remainder(period)
        return torch.where(place >= n, period - place, place) + first
    message = f"Pad has no mode {mode!r}"
    raise ModelFileError(message)


@operator("CenterCropPad", host=("shape",))
def center_crop_pad(x: Tensor, shape: Ints, *, axes: Sequence[int] = ()) -> Tensor:
    """``x`` cropped or padded with zeros around its centre to a shape."""
    pairs = [(0, 0)] * x.ndim
    chosen = axes_within(axes, x.ndim) or tuple(range(x.ndim))
    for axis, wanted in zip(chosen, ints(shape), strict=True):
        missing = wanted - x.shape[axis]
        less = missing // 2 if missing >= 0 else -(-missing // 2)
        pairs[axis] = (less, missing - less)
    return pad(x, [b for b, _ in pairs] + [e for _, e in pairs])


@operator("Shape")
def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """Lengths of the axes from ``start`` to before ``end``."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


@operator("Size")
def size_of(x: Tensor) -> Tensor:
    """Number of entries."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("ConstantOfShape", since=9, host=("shape",))
def constant_of_shape(shape: Ints, *, value: Tensor | None = None) -> Tensor:
    """A tensor of one repeated number."""
    size = checked_size(ints(shape))
    return torch.zeros(size) if value is None else value.reshape(()).repeat(size)


@operator("Range", since=11, host=("start", "limit", "delta"), ignore=("stash_type",))
def range_(start: Tensor | float, limit: Tensor | float, delta: Tensor | float) -> Tensor:
    """start, start + delta, … before ``limit``."""
    first, stop, step = (
        v if isinstance(v, Tensor) else torch.tensor(v) for v in (start, limit, delta)
    )
    begin, end, stride = (float(v.detach()) for v in (first, stop, step))
    n = max(0, math.ceil((end - begin) / stride))
    checked_size([n])
    return first + torch.arange(n).to(first.dtype) * step


@operator("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels moved into blocks of pixels."""
    b, c, h, w = x.shape
    k, m = blocksize, c // blocksize**2
    if mode == "DCR":
        y = x.reshape(b, k, k, m, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(b, m, k, k, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(b, m, h * k, w * k)


@operator("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Blocks of pixels moved into channels."""
    b, c, h, w = x.shape
    k = blocksize
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return (
        x.reshape(b, c, h // k, k, w // k, k).permute(order).reshape(b, c * k * k, h // k, w // k)
    )


@operator("Trilu", host=("k",))
def triangle(x: Tensor, k: Ints = None, *, upper: int = 1) -> Tensor:
    """Upper or lower triangle of each matrix from diagonal k, zero elsewhere."""
    (diagonal,) = ints(k) or (0,)
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)
