"""A softmax that has the same bits, and its gradient too, whatever the number of threads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


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
