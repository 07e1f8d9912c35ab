"""Matrix products that give a row the same bits whatever batch it came in.

BLAS picks its kernels by the number of rows, by the place of a row among them and by the number of
threads, and each kernel sums in an order of its own. So a small product is made for each image by
itself. That would read a large matrix once an image: there the product is made of a number of rows
that is always the same, the missing ones being zero, and that usual numbers of threads divide into
whole kernels.

A softmax that has the same bits, and its gradient too, whatever the number of threads.

Bits of element-wise functions that do not depend on where in the batch an element stands.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable


SMALL = 2**18
"""Entries of a matrix that is read once an image."""

ROWS = 96
"""Rows of a product with a larger one."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + bias`` of ``x (b, ..., n)``, ``weight (k, n)`` and ``bias (k,)``."""
    if x.device.type != "cpu" or x.ndim < 2 or weight.ndim != 2:
        return functional.linear(x, weight, bias)
    if x.ndim > 2 or weight.numel() <= SMALL:
        product = _by_image(x, weight.t())
        return product if bias is None else product + bias
    parts = [_block(part, weight, bias) for part in torch.split(x, ROWS)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """``left right`` as :func:`torch.matmul` has it."""
    if left.device.type != "cpu" or left.ndim < 2 or right.ndim != 2:
        return torch.matmul(left, right)
    return linear(left, right.t()) if left.ndim == 2 else _by_image(left, right)


def _block(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    missing = ROWS - len(x)
    wide = functional.pad(x, (0, 0, 0, missing)) if missing else x
    return functional.linear(wide, weight, bias)[: len(x)]


def _by_image(x: Tensor, right: Tensor) -> Tensor:
    flat = x[:, None] if x.ndim == 2 else x.flatten(1, -2)
    return torch.bmm(flat, right.expand(len(flat), *right.shape)).view(
        *x.shape[:-1], right.shape[1]
    )


class SameRows(TorchFunctionMode):
    """While active, the linear layers of a module use :func:`linear`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or what stands for it."""
        return (linear if func is functional.linear else func)(*args, **(kwargs or {}))


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    r""":math:`e^{x_i} / \sum_j e^{x_j}` along ``axis``, as :func:`torch.softmax` has it.

    torch's own rounds by the number of threads along any axis but the last, and its gradient does
    so along that one too unless it is a multiple of 16 long.
    """
    if x.device.type != "cpu":
        return torch.softmax(x, axis)
    rows = x.movedim(axis, -1).contiguous()
    y = _SoftmaxOfRows.apply(rows) if x.requires_grad else torch.softmax(rows, -1)
    return y.movedim(-1, axis)


class _SoftmaxOfRows(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.softmax(x, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        r""":math:`y_i (g_i - \sum_j g_j y_j)`, of torch's operations: it has a gradient itself."""
        (y,) = ctx.saved_tensors
        g = gradient.contiguous()
        return y * (g - (y * g).sum(-1, keepdim=True))


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
