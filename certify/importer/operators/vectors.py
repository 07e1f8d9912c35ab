"""Bits of element-wise functions that do not depend on where in the batch an element stands."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

VECTOR = 32
"""Elements that torch's CPU kernels take in one step where registers are the widest."""

SHARE = 32768
"""Elements of which torch gives each thread at least so many."""

UNDIVIDED = 20000
"""Elements that its GELU leaves to one thread; more of them it gives to all threads in any case."""


def whole_vectors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` of tensors of one shape, element by element, as one row of whole vectors.

    What is left over behind the last whole vector of a thread's share torch computes by other code,
    whose last bit may differ (sigmoid, ELU, powers, ...): a row at the end of a batch of 24 then
    had other bits than in the middle of 64. The layout of the first tensor is kept.

    A row of whole vectors is only looked at as a row; a gradient that comes back in another layout
    is copied into this one. A row that lacks elements is copied once each way.
    """

    @functools.wraps(function)
    def in_a_row(x: Tensor, *others: Tensor | float, **attributes: Any) -> Tensor:
        if not x.is_cpu or not x.is_floating_point():
            return function(x, *others, **attributes)
        order, back = _order(x.shape, x.stride())
        count = x.numel()
        missing = _missing(count, torch.get_num_threads())
        laid = x.permute(order) if back else x
        beside = [_beside(value, order, missing) for value in others]
        y = function(_row(laid, missing), *beside, **attributes)
        if missing:  # a slice would fill its gradient with zeros first
            y = y.split_with_sizes((count, missing))[0]
        y = y.view_as(laid)
        return y.permute(back) if back else y

    return in_a_row


def _row(laid: Tensor, missing: int) -> Tensor:
    """A tensor as a row, and ``missing`` elements more."""
    row = laid.reshape(-1)
    return torch.cat((row, row.new_full((missing,), 0.5))) if missing else row


def _beside(value: Tensor | float, order: tuple[int, ...], missing: int) -> Tensor | float:
    """Another tensor as a row in the same order; a single number as it is."""
    if not isinstance(value, Tensor) or value.ndim < len(order):
        return value
    return _row(value.permute(order), missing)


@functools.lru_cache(4096)
def _missing(count: int, threads: int) -> int:
    """How many elements after ``count`` end each thread's share with a whole vector."""
    whole = count
    while short := -whole % (VECTOR * _shares(whole, threads)):
        whole += short
    return whole - count


def _shares(count: int, threads: int) -> int:
    """A multiple of all numbers of shares that torch cuts so many elements into."""
    usual = max(1, min(threads, -(-count // SHARE)))
    return math.lcm(usual, threads) if count > UNDIVIDED else usual


@functools.lru_cache(4096)
def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Axes as they lie in memory, outermost first, and the way back; none where all stay.

    Of two strides alike a length of 1 comes last.
    """
    axes = range(len(shape))
    order = sorted(axes, key=lambda axis: (-strides[axis], shape[axis] == 1))
    back = [] if order == list(axes) else [order.index(axis) for axis in axes]
    return tuple(order), tuple(back)
