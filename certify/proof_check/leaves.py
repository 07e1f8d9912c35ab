"""Regions of signs: whether they cover all signs, and the lines that a region allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .bounds import Bounds, Lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Signs = NDArray[np.int8]


def covers(signs: Signs) -> bool:
    """Whether regions ``(n, u)`` of signs 1, -1 or 0 (any) are leaves of a tree of splits.

    A unit that every region assumes a sign of is split at the root; the regions of either sign must
    be leaves of a tree in turn. Whichever such unit is taken, the answer is the same.

    >>> covers(np.array([[1, 0], [-1, 1], [-1, -1]], np.int8))
    True
    >>> covers(np.array([[1, 0], [-1, 1]], np.int8))
    False
    """
    waiting = [signs]
    while waiting:
        part = waiting.pop()
        if not len(part):
            return False
        assumed = part != 0
        if not bool(assumed.any(1).all()):  # a region without further assumption is everything
            continue
        split = np.flatnonzero(assumed.all(0))
        if not len(split):
            return False
        unit = split[0]
        others = np.delete(part, unit, axis=1)
        waiting += [others[part[:, unit] == sign] for sign in (1, -1)]
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The inputs of ReLUs that have slopes of their own, as one vector of u units.

    Attributes:
        bounds: bounds of every node.
        elements: units of each ReLU, by its position; ascending.
    """

    bounds: Bounds
    elements: dict[int, NDArray[np.int64]]

    def lines(self, signs: Signs, slopes: Array, multipliers: Array) -> Mapping[int, Lines]:
        """Lines in regions; whatever the numbers are, the lines are valid.

        Args:
            signs: assumed signs ``(r, u)``.
            slopes: slopes of the lower lines, clipped to [0, 1] here.
            multipliers: multipliers of the assumptions, clipped at 0 here.
        """
        found, first = {}, 0
        for at, elements in self.elements.items():
            own = slice(first, first := first + len(elements))
            found[at] = self._lines(
                at, elements, signs[:, own], (slopes[:, own], multipliers[:, own])
            )
        return found

    def _lines(
        self, at: int, units: NDArray[np.int64], signs: Signs, given: tuple[Array, Array]
    ) -> Lines:
        """The lines of one ReLU."""
        bounds, (slopes, multipliers) = self.bounds, given
        default = bounds.lines[at]
        (parent,) = bounds.network.nodes[at].parents
        columns = np.union1d(default.columns, units)
        usual = Lines.over(bounds.lower[parent], bounds.upper[parent], columns)
        place = np.searchsorted(columns, units)
        shape = (len(signs), len(columns))
        lower, upper, offset = (
            np.broadcast_to(each, shape).copy() for each in (usual.lower, usual.upper, usual.offset)
        )
        is_open = np.isin(units, default.columns)
        lower[:, place] = np.where(is_open, np.clip(slopes, 0, 1), lower[:, place])
        assumed, positive = signs != 0, (signs > 0).astype(np.float64)
        lower[:, place] = np.where(assumed, positive, lower[:, place])
        upper[:, place] = np.where(assumed, positive, upper[:, place])
        offset[:, place] = np.where(assumed, 0.0, offset[:, place])
        signed = np.zeros(shape)
        signed[:, place] = signs * np.maximum(multipliers, 0)
        return Lines(columns, lower, upper, offset, signed)


def blocks(count: int, step: int) -> Iterator[slice]:
    """Slices of ``step`` rows that make up ``count``."""
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))
