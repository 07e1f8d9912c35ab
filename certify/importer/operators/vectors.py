"""Bits of element-wise functions that do not depend on where in the batch an element stands."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

VECTOR = 32
"""Elements that torch's CPU kernels take in one step where registers are the widest."""

SHARE = 32768
"""Elements of which torch gives each thread at least so many."""


def whole_vectors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` of tensors of one shape, element by element, as one row of whole vectors.

    What is left over behind the last whole vector of a thread's share torch computes by other code,
    whose last bit may differ (sigmoid, ELU, powers, ...): a row at the end of a batch of 24 then
    had other bits than in the middle of 64. The layout of the first tensor is kept.
    """

    @functools.wraps(function)
    def in_a_row(x: Tensor, *others: Tensor | float, **attributes: Any) -> Tensor:
        if x.device.type != "cpu" or not x.is_floating_point():
            return function(x, *others, **attributes)
        order, missing = _order(x), _missing(x.numel())
        rows = [_row(value, order, missing) for value in (x, *others)]
        y = function(*rows, **attributes)
        laid = y[: x.numel()].reshape([x.shape[axis] for axis in order])
        return laid.permute([order.index(axis) for axis in range(x.ndim)])

    return in_a_row


def _row(value: Tensor | float, order: list[int], missing: int) -> Tensor | float:
    """A tensor as it lies in memory, and ``missing`` elements more; a single number as it is."""
    if not isinstance(value, Tensor) or value.ndim < len(order):
        return value
    row = value.permute(order).reshape(-1)
    return functional.pad(row, (0, missing), value=0.5) if missing else row


def _missing(count: int) -> int:
    """How many elements after ``count`` end each thread's share with a whole vector."""
    threads = max(1, min(torch.get_num_threads(), -(-count // SHARE)))
    return -count % (VECTOR * threads)


def _order(x: Tensor) -> list[int]:
    """Axes of ``x`` as they lie in memory, outermost first; of two alike a length of 1 last."""
    keys = [(-step, length == 1) for step, length in zip(x.stride(), x.shape, strict=True)]
    return sorted(range(x.ndim), key=keys.__getitem__)
