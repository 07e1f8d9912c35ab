"""Sums, means, extremes and the like over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .common import Ints, axes_within, ints
from .operator_table import operator

Axes = tuple[int, ...]
Reduction = Callable[[Tensor, Axes, bool], Tensor]


def _product(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _maximum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return _extreme(x, axes, keep=keep, greatest=True)


def _minimum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return _extreme(x, axes, keep=keep, greatest=False)


def _extreme(x: Tensor, axes: Axes, *, keep: bool, greatest: bool) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes]
        return x.new_full(shape, _worst(x.dtype, greatest=greatest))
    return torch.amax(x, axes, keep) if greatest else torch.amin(x, axes, keep)


def _worst(kind: torch.dtype, *, greatest: bool) -> float:
    """Neutral element of the maximum, or of the minimum."""
    if kind == torch.bool:
        return not greatest
    if kind.is_floating_point:
        return -torch.inf if greatest else torch.inf
    return torch.iinfo(kind).min if greatest else torch.iinfo(kind).max


def _l2(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if not x.is_floating_point():
        return x.square().sum(axes, keep).to(torch.float64).sqrt().to(x.dtype)
    return torch.linalg.vector_norm(x, 2, axes, keep)  # its slope at 0 is 0, that of sqrt is not


def _mean(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keep)
    return x.to(torch.float64).mean(axes, keep).to(x.dtype)


REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": _l2,
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceMax": _maximum,
    "ReduceMean": _mean,
    "ReduceMin": _minimum,
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _reduced(x: Tensor, axes: Sequence[int], *, name: str, keep: bool) -> Tensor:
    """``REDUCTIONS[name]`` over ``axes``, or over all axes if there are none."""
    chosen = axes_within(axes, x.ndim) or tuple(range(x.ndim))
    return REDUCTIONS[name](x, chosen, keep).to(x.dtype)


def _enter(name: str) -> None:
    def reduce_by_attribute(x: Tensor, *, axes: Sequence[int] = (), keepdims: int = 1) -> Tensor:
        return _reduced(x, axes, name=name, keep=bool(keepdims))

    def reduce(
        x: Tensor, axes: Ints = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        chosen = ints(axes)
        if not chosen and noop_with_empty_axes:
            return x
        return _reduced(x, chosen, name=name, keep=bool(keepdims))

    operator(name)(reduce_by_attribute)
    operator(name, since=13 if name == "ReduceSum" else 18, host=("axes",))(reduce)


for _name in REDUCTIONS:
    _enter(_name)
