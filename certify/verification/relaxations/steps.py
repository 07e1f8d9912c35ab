"""Rounding functions: constants on narrow intervals, parallels to the identity on wide ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .choice import Choice, attached, enclosure
from .lines import Box, Lines, Relaxation

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Rounding(Relaxation):
    """A rounding to whole numbers that never falls: floor, ceil or round.

    Attributes:
        name: name of the function.
        function: the function in float64, exact.
        distance: smallest and largest difference between the rounded number and x.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    distance: tuple[float, float]

    def value(self, x: Tensor) -> Tensor:
        """The rounded number."""
        return self.function(x)

    def range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The rounded ends; exact."""
        box = Box.of(lower, upper)
        values = (self.function(box.ends[0]), self.function(box.ends[1]))
        return enclosure(box, values, (-torch.inf, torch.inf))

    @torch.no_grad()
    def lines(
        self,
        lower: Tensor,
        upper: Tensor,
        tangent: Tensor | None = None,
        *,
        upper_tangent: Tensor | None = None,
    ) -> Lines:
        """Constants, or lines of slope 1 where these are closer; tangents choose nothing."""
        box = Box.of(lower, upper)
        below = _closer(box, self.function(box.ends[0]), self.distance[0])
        above = _closer(box, -self.function(box.ends[1]), -self.distance[1], slope=-1.0)
        return attached(box, (below, None), (above, None))


def _closer(box: Box, constant: Tensor, parallel: float, *, slope: float = 1.0) -> Choice:
    """The higher at the middle of two lower lines: ``constant`` and ``slope x + parallel``."""
    gain = slope * box.middle + parallel - constant
    chosen = torch.where((gain > 0) & box.finite, slope, 0.0)
    offset = torch.where(chosen != 0, parallel, constant)
    return Choice(chosen, offset, box.middle, torch.zeros_like(constant))


def floor() -> Rounding:
    """The largest whole number up to x."""
    return Rounding("floor", torch.floor, (-1.0, 0.0))


def ceil() -> Rounding:
    """The smallest whole number from x on."""
    return Rounding("ceil", torch.ceil, (0.0, 1.0))


def round_half_even() -> Rounding:
    """The nearest whole number, the even one of two."""
    return Rounding("round", torch.round, (-0.5, 0.5))
