"""The inputs of a property: a box with exact rational bounds, and what float32 makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

LARGEST_FLOAT32 = Fraction(float(np.finfo(np.float32).max))

_EXACT = Context(prec=2000)
"""Digits that are enough for every number of a file and every float32."""


@dataclass(frozen=True, slots=True)
class Box:
    """Bounds of each input, exactly as the file states them.

    A real input of the box reaches the network as the nearest float32, which may lie just outside
    of the box; such inputs belong to what is attacked and proved.

    Attributes:
        lower: smallest value of each input, in the order of the flattened input.
        upper: largest values; nowhere below the lower ones.
    """

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]

    def __len__(self) -> int:
        return len(self.lower)

    def outward(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bounds ``(d,)`` rounded outward to float32 numbers.

        They enclose every real input of the box and the float32 that is nearest to it.
        """
        lower = _rounded(self.lower, _below)
        return lower, _rounded(self.upper, lambda value: -_below(-value))

    def nearest(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Smallest and largest float32 ``(d,)`` that an input of the box is rounded to."""
        return _rounded(self.lower, _nearest), _rounded(self.upper, _nearest)

    def written(self, x: NDArray[np.float32]) -> tuple[str, ...] | None:
        """Decimal numbers inside the box, without any tolerance, that are read as ``x (d,)``.

        None if there are none: ``x`` then is no input of the box.
        """
        found = []
        for value, low, high in zip(x, self.lower, self.upper, strict=True):
            text = next(_inside(value, low, high), None)
            if text is None:
                return None
            found.append(text)
        return tuple(found)


def read_inputs(written: Sequence[str]) -> NDArray[np.float32]:
    """The float32 inputs ``(d,)`` that a program reads from decimal numbers."""
    return np.array([float(text) for text in written], np.float64).astype(np.float32)


def float_below(value: Fraction) -> float:
    """The largest float64 that is not above ``value``."""
    rounded = float(value)
    return rounded if Fraction(rounded) <= value else math.nextafter(rounded, -math.inf)


def _inside(value: np.float32, low: Fraction, high: Fraction) -> Iterator[str]:
    """Decimal numbers in [low, high] that are read as ``value``, short ones first."""
    if not np.isfinite(value):
        return
    number = float(value)
    for text in (repr(number), _decimal(low), _decimal(high), format(Decimal(number), "f")):
        if text and low <= Fraction(text) <= high and np.float32(float(text)) == value:
            yield text


def _decimal(value: Fraction) -> str:
    """``value`` as a decimal number; empty if it has no finite one."""
    context = _EXACT.copy()
    context.clear_flags()
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return "" if context.flags[Inexact] else str(quotient)


def _rounded(values: Sequence[Fraction], rule: Callable[[Fraction], float]) -> NDArray[np.float64]:
    known: dict[Fraction, float] = {}  # most inputs of an image share a few bounds
    rounded = np.empty(len(values))
    for position, value in enumerate(values):
        if value not in known:
            known[value] = rule(value)
        rounded[position] = known[value]
    return rounded


def _nearest(value: Fraction) -> float:
    return float(np.float32(float(value)))


def _below(value: Fraction) -> float:
    """The largest float32 that is not above ``value``."""
    rounded = np.float32(float(value))
    if Fraction(float(rounded)) > value:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)
