"""Linear relaxations of an elementwise function: the interface and the checks of its inputs.

A relaxation is a pair of lines with
``lower_slope x + lower_offset <= sigma(x) <= upper_slope x + upper_offset`` for all x in [l, u].
The inequalities hold in exact arithmetic for the stored numbers: slopes are chosen freely, and
offsets are then rounded outward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robcert.certify.errors import InvalidParameterError, RobcertError

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_FINITE = 1e290
"""Larger ends count as infinite: computed with this number first, their lines replaced after."""


class InvalidIntervalError(InvalidParameterError):
    """An interval has a NaN end, or its lower end is above its upper end."""


class OutsideDomainError(RobcertError):
    """An interval contains points at which the function is not defined."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Lower and upper line of every element; all tensors have the shape of the intervals.

    Where an end of the interval is infinite, lines are constant. A line that does not exist is
    trivial: slope 0, offset -inf (lower) or +inf (upper).
    """

    lower_slope: Tensor
    lower_offset: Tensor
    upper_slope: Tensor
    upper_offset: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Intervals [lower, upper] in float64 with their middle, and the type results are stored in.

    Attributes:
        lower: left ends; finite.
        upper: right ends; finite.
        middle: the points at which a line's height decides how good it is: over an interval, the
            area between line and function depends on that height alone.
        ends: both ends as they were given, infinities included.
        finite: False where only constant lines will do, as where an end is infinite.
        dtype: float32 or float64.
    """

    lower: Tensor
    upper: Tensor
    middle: Tensor
    ends: tuple[Tensor, Tensor]
    finite: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor) -> Box:
        """The checked intervals; raises InvalidIntervalError."""
        if lower.dtype not in (torch.float32, torch.float64) or upper.dtype != lower.dtype:
            message = f"intervals must be float32 or float64, got {lower.dtype} and {upper.dtype}"
            raise InvalidIntervalError(message)
        if lower.shape != upper.shape:
            message = f"ends of intervals differ in shape: {lower.shape} and {upper.shape}"
            raise InvalidIntervalError(message)
        if not bool((lower <= upper).all()):
            message = "an interval is empty or has a NaN end: lower end above upper end"
            hint = "regions without points must be dropped before their functions are relaxed"
            raise InvalidIntervalError(message, hint=hint)
        ends = lower.detach().to(torch.float64), upper.detach().to(torch.float64)
        finite = (ends[0].abs() <= LARGEST_FINITE) & (ends[1].abs() <= LARGEST_FINITE)
        low, high = (end.clamp(-LARGEST_FINITE, LARGEST_FINITE) for end in ends)
        middle = (low / 2 + high / 2).clamp(low, high)
        return cls(low, high, middle, ends, finite, lower.dtype)


class Relaxation(ABC):
    """Linear bounds of one elementwise function."""

    __slots__ = ()
    name: str

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """The function, computed in float64 and returned in the type of ``x``."""

    @abstractmethod
    def range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of an interval that contains all values on [lower, upper], rounded outward."""

    @abstractmethod
    def lines(
        self,
        lower: Tensor,
        upper: Tensor,
        tangent: Tensor | None = None,
        *,
        upper_tangent: Tensor | None = None,
    ) -> Lines:
        """Lines that enclose the function on [lower, upper].

        Args:
            lower: left ends, any shape, float32 or float64.
            upper: right ends, same shape and type.
            tangent: numbers in [0, 1] of the same shape that choose among the sound lower lines,
                from the one that touches farthest left to the one farthest right. Slope and
                offset carry its gradient. None: the line with the smallest area.
            upper_tangent: the same for the upper lines.
        """


def as_share(tangent: Tensor | None) -> Tensor | None:
    """``tangent`` in float64, within [0, 1], without gradient; NaN counts as 0."""
    if tangent is None:
        return None
    return tangent.detach().to(torch.float64).nan_to_num(nan=0.0).clamp(0, 1)
