"""Input gradients, per image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

PerImage = Callable[[Tensor], Tensor]

LIMIT_ULPS = 8
"""Size of the rounding beyond a limit of a clip, in units in the last place of the larger limit."""


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
    where pixels are clipped to their range. Pixels that were normalised before can lie beyond a
    limit by their rounding; they count as at the limit.
    """
    before = x.detach()
    inside = torch.clamp(before, low, high)
    if not x.is_floating_point() or not torch.is_grad_enabled():
        return inside  # the same value as below
    limits = [abs(limit) for limit in (low, high) if limit is not None and math.isfinite(limit)]
    rounding = LIMIT_ULPS * torch.finfo(x.dtype).eps * max(limits, default=0.0)
    near = (inside - before).abs() <= rounding
    return torch.where(near, x + (inside - before), inside)
