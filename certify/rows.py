"""Matrix products that give a row the same bits whatever batch it came in.

BLAS picks its kernels by the number of rows, by the place of a row among them and by the number of
threads, and each kernel sums in an order of its own. So a small product is made for each image by
itself. That would read a large matrix once an image: there the product is made of a number of rows
that is always the same, the missing ones being zero, and that usual numbers of threads divide into
whole kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
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
