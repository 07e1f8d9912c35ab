"""What the chosen lines of a function become: stored numbers, rounded outward, with gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .lines import Box, Lines
from .rounding import round_down, round_up

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A certified lower line in float64.

    Attributes:
        slope: slope; exactly representable in the type of the result.
        offset: certified offset for that slope.
        contact: where the line is closest to the function: minus the derivative of the offset
            with respect to the slope (envelope theorem).
        rate: derivative of the slope with respect to the tangent.
    """

    slope: Tensor
    offset: Tensor
    contact: Tensor
    rate: Tensor


def attached(
    box: Box, below: tuple[Choice, Tensor | None], above: tuple[Choice, Tensor | None]
) -> Lines:
    """The lines of a lower choice of the function and one of its negative, each with its tangent.

    Slopes and offsets carry the gradient of the tangents; the gradient changes no value.
    """
    lower_slope, lower_offset = _stored(box, *below)
    upper_slope, upper_offset = _stored(box, *above)
    return Lines(lower_slope, lower_offset, 0.0 - upper_slope, 0.0 - upper_offset)


def _stored(box: Box, choice: Choice, tangent: Tensor | None) -> tuple[Tensor, Tensor]:
    """Slope and offset in the type of the result."""
    slope, offset = choice.slope.to(box.dtype), round_down(choice.offset, box.dtype)
    if tangent is None or not tangent.requires_grad:
        return slope, offset
    # Adding an exact 0 keeps the stored numbers; its derivative is what the optimiser follows.
    zero = (tangent - tangent.detach()).to(box.dtype)
    change = choice.rate.nan_to_num(0, 0, 0).to(box.dtype) * zero
    contact = choice.contact.to(box.dtype)
    finite = offset.isfinite()
    return slope + change, torch.where(finite, offset - contact * change, offset)


def enclosure(
    box: Box, values: tuple[Tensor, Tensor], limits: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Certified ends of a range, cut to the function's limits and rounded outward."""
    low, high = values[0].clamp_min(limits[0]), values[1].clamp_max(limits[1])
    return round_down(low, box.dtype), round_up(high, box.dtype)


def where_finite(box: Box, choice: Choice, least: Tensor) -> Choice:
    """``choice``, or the constant line ``least`` where the box demands constants."""
    zero = torch.zeros_like(least)
    return Choice(
        torch.where(box.finite, choice.slope, zero),
        torch.where(box.finite, choice.offset, least),
        choice.contact,
        torch.where(box.finite, choice.rate, zero),
    )


def extremes(values: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Smallest and largest of computed values with their errors; infinite where one is NaN."""
    points = torch.stack([value for value, _ in values])
    errors = torch.stack([error for _, error in values])
    low = torch.where(points.isinf(), points, points - errors).amin(0)
    high = torch.where(points.isinf(), points, points + errors).amax(0)
    # An infinity on the wrong side is an overflow, whose true value is unknown.
    low = torch.where(low < torch.inf, low, -torch.inf)
    return low, torch.where(high > -torch.inf, high, torch.inf)
