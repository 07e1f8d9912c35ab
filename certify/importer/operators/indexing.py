"""Operators that pick, order and place entries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError

from ..graph.elements import carrier
from .common import Ints, axis_within, checked_size, ints
from .operator_table import Gradient, operator

SCATTER_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _from_front(indices: Tensor, length: int) -> Tensor:
    """Indices with negative ones counted from the end."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + length, indices)


@operator("Gather")
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Slices of x along an axis, in the shape of ``indices``."""
    axis = axis_within(axis, x.ndim)
    chosen = _from_front(indices, x.shape[axis])
    picked = x.index_select(axis, chosen.reshape(-1))
    return picked.reshape((*x.shape[:axis], *chosen.shape, *x.shape[axis + 1 :]))


@operator("GatherElements")
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Entries of x at the given positions along an axis."""
    return torch.gather(x, axis, _from_front(indices, x.shape[axis]))


@operator("GatherND")
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Slices of x at index tuples, the first ``batch_dims`` axes in step."""
    batch, depth = x.shape[:batch_dims], indices.shape[-1]
    n = math.prod(batch)
    inner = x.shape[batch_dims : batch_dims + depth]
    rest = x.shape[batch_dims + depth :]
    flat = x.reshape(n, math.prod(inner), *rest)
    places = _linear(indices, inner).reshape(n, -1)
    rows = torch.arange(n, device=x.device).unsqueeze(1)
    return flat[rows, places].reshape((*indices.shape[:-1], *rest))


def _linear(indices: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Position in a flat block of shape ``lengths`` of each index tuple (last axis)."""
    position = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=indices.device)
    for depth, length in enumerate(lengths):
        position = position * length + _from_front(indices[..., depth], length)
    return position


@operator("ScatterND", since=11)
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """``x`` with slices at index tuples replaced by, or combined with, ``updates``."""
    depth = indices.shape[-1]
    inner = x.shape[:depth]
    flat = x.reshape(math.prod(inner), -1)
    places = _linear(indices, inner).reshape(-1, 1)
    values = updates.reshape(len(places), -1).to(x.dtype)
    placed = _scattered(flat, places.expand_as(values), values, axis=0, reduction=reduction)
    return placed.reshape(x.shape)


@operator("Scatter", since=9)
@operator("ScatterElements", since=11)
def scatter_elements(
    x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    """``x`` with entries at positions along an axis replaced by, or combined with, ``updates``."""
    places = _from_front(indices, x.shape[axis])
    return _scattered(x, places, updates.to(x.dtype), axis=axis, reduction=reduction)


def _scattered(x: Tensor, places: Tensor, values: Tensor, *, axis: int, reduction: str) -> Tensor:
    if reduction == "none":
        return torch.scatter(x, axis, places, values)
    return torch.scatter_reduce(x, axis, places, values, SCATTER_REDUCTIONS[reduction])


@operator("Where", since=9)
def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``x`` where the condition holds, else y."""
    return torch.where(condition, x, y)


@operator("OneHot", since=9, gradient=Gradient.NONE, host=("depth",))
def one_hot(indices: Tensor, depth: Ints, values: Tensor, *, axis: int = -1) -> Tensor:
    """``values[1]`` at the given index along a new axis, ``values[0]`` elsewhere."""
    (n,) = ints(depth)
    place = axis_within(axis, indices.ndim + 1)
    checked_size([*indices.shape, n])
    wanted = _from_front(indices, n).unsqueeze(place)
    classes = torch.arange(n, device=indices.device)
    hit = wanted == classes.reshape(-1, *[1] * (indices.ndim - place))
    return torch.where(hit, values[1], values[0])


@operator("ArgMax", gradient=Gradient.NONE)
def argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Position of the greatest entry along an axis, the first or last of equals."""
    return _position(x, axis, keep=bool(keepdims), last=bool(select_last_index), greatest=True)


@operator("ArgMin", gradient=Gradient.NONE)
def argmin(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Position of the least entry along an axis, the first or last of equals."""
    return _position(x, axis, keep=bool(keepdims), last=bool(select_last_index), greatest=False)


def _position(x: Tensor, axis: int, *, keep: bool, last: bool, greatest: bool) -> Tensor:
    values = x.flip(axis) if last else x
    best = torch.argmax(values, axis, keep) if greatest else torch.argmin(values, axis, keep)
    return x.shape[axis] - 1 - best if last else best


@operator("TopK", gradient=Gradient.NONE)
def top_by_attribute(
    x: Tensor, *, k: int, axis: int = -1, n_outputs: int = 2
) -> tuple[Tensor, ...]:
    """The k greatest entries along an axis and their positions (version 1)."""
    return top(x, k, axis=axis, n_outputs=n_outputs)


@operator("TopK", since=10, gradient=Gradient.NONE, host=("k",), ignore=("sorted",))
def top(
    x: Tensor, k: Ints, *, axis: int = -1, largest: int = 1, n_outputs: int = 2
) -> tuple[Tensor, ...]:
    """The k greatest or least entries along an axis, sorted, and their positions."""
    (count,) = ints(k)
    # Stable: of equal entries the one with the lower index comes first.
    order = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    return (order.values.narrow(axis, 0, count), order.indices.narrow(axis, 0, count))[:n_outputs]


@operator("CumSum", since=11, host=("axis",))
def cumulative_sum(x: Tensor, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running sum along an axis."""
    return _running(x, axis, product=False, exclusive=bool(exclusive), reverse=bool(reverse))


@operator("CumProd", host=("axis",))
def cumulative_product(x: Tensor, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running product along an axis."""
    return _running(x, axis, product=True, exclusive=bool(exclusive), reverse=bool(reverse))


def _running(x: Tensor, axis: Ints, *, product: bool, exclusive: bool, reverse: bool) -> Tensor:
    (along,) = ints(axis)
    y = x.flip(along) if reverse else x
    y = torch.cumprod(y, along) if product else torch.cumsum(y, along)
    if exclusive:
        neutral = torch.full_like(y.narrow(along, 0, 1), 1 if product else 0)
        y = torch.cat([neutral, y.narrow(along, 0, y.shape[along] - 1)], along)
    return (y.flip(along) if reverse else y).to(x.dtype)


@operator("ReverseSequence", since=10)
def reverse_sequence(
    x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0
) -> Tensor:
    """The first ``lengths`` steps of each sequence backwards."""
    y = x.movedim((batch_axis, time_axis), (0, 1))
    step = torch.arange(y.shape[1], device=x.device)
    upto = lengths.to(torch.int64).unsqueeze(1)
    place = torch.where(step < upto, upto - 1 - step, step)
    rows = torch.arange(len(y), device=x.device).unsqueeze(1)
    return y[rows, place].movedim((0, 1), (batch_axis, time_axis))


@operator("Compress", since=9, gradient=Gradient.TRUE)
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """Slices of x along an axis (or entries of flat x) where the condition holds."""
    places = condition.nonzero().reshape(-1)
    if axis is None:
        return x.reshape(-1).index_select(0, places)
    return x.index_select(axis, places)


@operator("NonZero", since=9, gradient=Gradient.NONE)
def nonzero(x: Tensor) -> Tensor:
    """Positions of the entries other than 0, one column each."""
    return x.nonzero().t()


@operator("EyeLike", since=9, gradient=Gradient.NONE)
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """A matrix of the shape of x with ones on diagonal k."""
    if x.ndim != 2:
        message = f"EyeLike needs a matrix, got {x.ndim} axes"
        raise ModelFileError(message)
    rows, columns = (torch.arange(n, device=x.device) for n in x.shape)
    ones = columns.unsqueeze(0) - rows.unsqueeze(1) == k
    return ones.to(x.dtype if dtype is None else carrier(dtype))
