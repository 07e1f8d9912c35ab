"""Operations whose result for a row has the same bits in a batch of any size.

Matrix products: BLAS chooses its kernels by the number of rows, by the position of a row, by the
address of a matrix and by the number of threads, and each kernel has its own order of summation. So
a product with a small matrix is computed separately for each image, and so is a product of two
batches; all matrices are filled up with zeros to whole lines of memory. With a large matrix a
product per image would read the matrix once per image; there the product has a fixed number of
rows, filled up with zeros, which usual numbers of threads divide into whole kernels.

Softmax: the same bits, also of its gradient, for any number of threads.

Sums over an image: the same bits for any number of threads.

Element-wise functions: bits that do not depend on an element's position in the batch.
"""

from __future__ import annotations

import functools
import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = 2**18
"""Largest number of entries of a matrix that is read once per image."""

LINE = 16
"""Elements of a line of memory, 64 bytes of float32."""

ROWS = 96
"""Number of rows of a product with a larger matrix."""


_unpadded: ContextVar[bool] = ContextVar("_unpadded", default=False)


@contextmanager
def unpadded_products() -> Iterator[None]:
    """Products without columns of zeros, for a function that is recorded and not computed."""
    token = _unpadded.set(True)
    try:
        yield
    finally:
        _unpadded.reset(token)


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
    """Product of ``left`` and ``right``, as by :func:`torch.matmul`."""
    if left.device.type != "cpu" or left.ndim < 2 or right.ndim < 2:
        return torch.matmul(left, right)
    if right.ndim > 2:
        return torch.matmul(left, right) if _unpadded.get() else _by_matrix(left, right)
    return linear(left, right.t()) if left.ndim == 2 else _by_image(left, right)


def sums(x: Tensor) -> Tensor:
    """Sums ``(b,)`` of ``x (b, ...)``, one per image.

    torch divides the sum of one large row among its threads, which changes the rounding; of
    several rows each is summed by one thread.
    """
    rows = x.flatten(1)
    return rows.expand(2, -1).sum(1)[:1] if len(x) == 1 else rows.sum(1)


def _block(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    inner, outer = _short(x, weight.t())
    wide = functional.pad(x, (0, inner, 0, ROWS - len(x)))
    if inner or outer:
        weight = functional.pad(weight, (0, inner, 0, outer))
        bias = bias if bias is None else functional.pad(bias, (0, outer))
    return functional.linear(wide, weight, bias)[: len(x), : weight.shape[0] - outer]


def _by_image(x: Tensor, right: Tensor) -> Tensor:
    flat = x[:, None] if x.ndim == 2 else x.flatten(1, -2)
    inner, outer = _short(flat, right)
    wide = functional.pad(right, (0, outer, 0, inner)) if inner or outer else right
    product = torch.bmm(_columns(flat, inner), wide.expand(len(flat), *wide.shape))
    return product[..., : right.shape[1]].reshape(*x.shape[:-1], right.shape[1])


def _by_matrix(left: Tensor, right: Tensor) -> Tensor:
    """Product of matrices, at least one of which belongs to an image; one matrix at a time."""
    inner, outer = _short(left, right)
    wide = _columns(right, outer)
    wide = functional.pad(wide, (0, 0, 0, inner)) if inner else wide
    batch = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        left.shape[:-2], right.shape[:-2]
    )
    factors = [
        factor.expand(*batch, *factor.shape[-2:]).flatten(0, -3)
        for factor in (_columns(left, inner), wide)
    ]
    product = torch.bmm(*factors)[..., : right.shape[-1]]
    return product.reshape(*batch, left.shape[-2], right.shape[-1])


def _short(left: Tensor, right: Tensor) -> tuple[int, int]:
    """Columns of the two factors that are lacking to whole lines of memory.

    Without these each matrix of a batch begins elsewhere in a line, also in the product and in its
    gradients.
    """
    if _unpadded.get():
        return 0, 0
    return -left.shape[-1] % LINE, -right.shape[-1] % LINE


def _columns(x: Tensor, missing: int) -> Tensor:
    """``x`` in the order of its axes with so many columns of zeros after its own."""
    if missing:
        return functional.pad(x, (0, missing))
    return x if _unpadded.get() else x.contiguous()


class SameRows(TorchFunctionMode):
    """While active, the linear layers of a module use :func:`linear`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or :func:`linear` in its place."""
        return (linear if func is functional.linear else func)(*args, **(kwargs or {}))


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    r""":math:`e^{x_i} / \sum_j e^{x_j}` along ``axis``, as by :func:`torch.softmax`.

    The rounding of torch's softmax depends on the number of threads along every axis but the last;
    that of its gradient also along the last unless its length is a multiple of 16.
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
        r""":math:`y_i (g_i - \sum_j g_j y_j)`, by operations that have gradients themselves."""
        (y,) = ctx.saved_tensors
        g = gradient.contiguous()
        return y * (g - (y * g).sum(-1, keepdim=True))


VECTOR = 32
"""Elements per step of torch's CPU kernels with the widest registers."""

SHARE = 32768
"""Smallest number of elements that torch assigns to a thread."""

UNDIVIDED = 20000
"""Largest number of elements for which torch's GELU uses one thread; for more it uses all."""


def whole_vectors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Element-wise ``function`` of tensors of one shape, computed on one row of whole vectors.

    torch computes the elements after the last whole vector of a thread's share by other code, whose
    last bit may differ (sigmoid, ELU, powers, ...): a row at the end of a batch of 24 would have
    other bits than in the middle of 64. The layout of the first tensor is kept.

    If the number of elements fits, the row is a view, and a gradient in another layout is copied
    into this one. Otherwise the row is padded, with one copy in each direction.
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
        if missing:  # the gradient of a slice is filled with zeros first, that of a split is not
            y = y.split_with_sizes((count, missing))[0]
        y = y.view_as(laid)
        return y.permute(back) if back else y

    return in_a_row


def _row(laid: Tensor, missing: int) -> Tensor:
    """A tensor as a row, padded by ``missing`` elements."""
    row = laid.reshape(-1)
    return torch.cat((row, row.new_full((missing,), 0.5))) if missing else row


def _beside(value: Tensor | float, order: tuple[int, ...], missing: int) -> Tensor | float:
    """Another tensor as a row in the same order; a single number unchanged."""
    if not isinstance(value, Tensor) or value.ndim < len(order):
        return value
    return _row(value.permute(order), missing)


@functools.lru_cache(4096)
def _missing(count: int, threads: int) -> int:
    """Number of elements to append to ``count`` so that each thread's share is whole vectors."""
    whole = count
    while short := -whole % (VECTOR * _shares(whole, threads)):
        whole += short
    return whole - count


def _shares(count: int, threads: int) -> int:
    """A multiple of every number of shares that torch may divide the elements into."""
    usual = max(1, min(threads, -(-count // SHARE)))
    return math.lcm(usual, threads) if count > UNDIVIDED else usual


@functools.lru_cache(4096)
def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Axes in the order of memory, outermost first, and the inverse; empty if that is the order.

    Of two axes of equal stride the one of length 1 comes last.
    """
    axes = range(len(shape))
    order = sorted(axes, key=lambda axis: (-strides[axis], shape[axis] == 1))
    back = [] if order == list(axes) else [order.index(axis) for axis in axes]
    return tuple(order), tuple(back)
