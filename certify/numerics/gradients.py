"""Input gradients, per image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PerImage = Callable[[Tensor], Tensor]


def value_and_gradient(function: PerImage, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values ``(b,)`` of ``function`` at ``x (b, ...)`` and their gradients ``(b, ...)``.

    The sum over the batch is differentiated, so each row is the gradient of its own image; a mean
    would divide it by the batch size. A function that does not depend on ``x`` has gradient 0.
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        values = function(point)
        if not values.requires_grad:
            return values.detach(), torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(
            values.sum(), point, allow_unused=True, materialize_grads=True
        )
    # Contiguous layout: another one is slower, and sums over it have other last bits. With one
    # channel contiguous() would mistake channels-last for it.
    return values.detach(), gradient.reshape(-1).view(x.shape)


def saturated(x: Tensor, low: float | None, high: float | None) -> Tensor:
    """``x`` clipped to [low, high], with the gradient 1 at the limits too.

    torch's clamp has the gradient 0 there, so black and white pixels would seem to have no effect
    where pixels are clipped to their range.
    """
    inside = torch.clamp(x.detach(), low, high)
    return torch.where(inside == x, x, inside)
