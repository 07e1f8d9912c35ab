"""Sine and cosine: three pieces per interval of at most one period, constants on longer ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from .curve import Curve
from .lines import Box
from .pieces import EVALUATION_ERROR, Segment
from .rounding import EPSILON

if TYPE_CHECKING:
    from torch import Tensor

    from .pieces import Function

LARGEST_ARGUMENT = 1e4
"""Beyond, places of the extremes are not trusted and the lines are constants."""

PLACE_ERROR = 1e-10
"""Extremes so close to an interval count as inside it; k pi is known to 1e-11 in float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Wave(Curve):
    """sin(x + phase).

    Attributes:
        phase: 0 for the sine, pi / 2 for the cosine.
    """

    phase: float = 0.0

    def _box(self, lower: Tensor, upper: Tensor) -> Box:
        """Intervals, marked where they may hold more than three half waves or are far from 0."""
        box = Box.of(lower, upper)
        far = torch.maximum(box.lower.abs(), box.upper.abs()) > LARGEST_ARGUMENT
        long = box.upper - box.lower > 2 * math.pi
        return replace(box, finite=box.finite & ~far & ~long)

    def _pieces_on(self, box: Box) -> tuple[Segment, ...]:
        """Half waves from the one that contains the left end."""
        base = replace(
            self.pieces[0], edge_error=8 * EPSILON * (4 + box.lower.abs() + box.upper.abs())
        )
        first = torch.floor((box.lower + self.phase) / math.pi)
        return tuple(self._half_wave(base, first, index) for index in range(3))

    def _half_wave(self, base: Segment, first: Tensor, index: int) -> Segment:
        """The half wave of [k pi, (k + 1) pi], k = first + index; concave if k is even."""
        number = first + index
        start = number * math.pi - self.phase
        curvature = torch.where(torch.remainder(number, 2) == 0, -1.0, 1.0)
        return replace(
            base,
            start=start if index else -math.inf,
            stop=start + math.pi if index < 2 else math.inf,
            curvature=curvature,
        )

    def _extremes(self, box: Box) -> tuple[Tensor, Tensor]:
        low, high = Curve._extremes(self, box)
        peak = self._contains(box, math.pi / 2 - self.phase)
        valley = self._contains(box, -math.pi / 2 - self.phase)
        return torch.where(valley | ~box.finite, -1.0, low), torch.where(
            peak | ~box.finite, 1.0, high
        )

    def _contains(self, box: Box, place: float) -> Tensor:
        """Whether an interval contains ``place`` up to a multiple of 2 pi, or may."""
        period = 2 * math.pi
        first = torch.ceil((box.lower - place - PLACE_ERROR) / period)
        return place + first * period <= box.upper + PLACE_ERROR


def _absolute_error(x: Tensor, computed: Tensor) -> Tensor:
    return torch.full_like(x, EVALUATION_ERROR)


def sine() -> Wave:
    """sin(x)."""
    return _wave("sin", torch.sin, torch.cos, 0.0)


def cosine() -> Wave:
    """cos(x)."""
    return _wave("cos", torch.cos, lambda x: -torch.sin(x), math.pi / 2)


def _wave(name: str, value: Function, slope: Function, phase: float) -> Wave:
    whole = Segment(-math.inf, math.inf, 1, value, slope, _absolute_error, _absolute_error)
    return Wave(name, (whole,), limits=(-1.0, 1.0), phase=phase)
