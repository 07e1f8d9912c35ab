"""Attacked distances in the same file, compared with the estimated radii of a bounds table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.store import crossings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from robcert.certify.store import ResultStore

ATTACKS = ("attack", "transfer")
"""Schemas of tables with attacked distances of the base classifier."""

ROUNDING = 1e-4
"""Relative rounding error of distances between float32 images."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """Distances of the nearest adversarial examples, over all attacks in the norm.

    Attributes:
        n: number of images of the table that were attacked.
        not_found: number of these without an adversarial example.
        mean: mean over the n, misclassified ones at 0; infinite if any has no adversarial example.
        median: median over the n, as the mean.
        mean_correct: mean over those that are classified as y.
    """

    n: int
    not_found: int
    mean: float
    median: float
    mean_correct: float

    @classmethod
    def of(cls, distance: NDArray[np.float64]) -> Attacked:
        """Statistics of distances ``(n,)``; NaN means not attacked."""
        known = distance[~np.isnan(distance)]
        right = known[known > 0]
        nothing = float("nan")
        return cls(
            n=len(known),
            not_found=int(np.isinf(known).sum()),
            mean=float(known.mean()) if len(known) else nothing,
            median=float(np.median(known)) if len(known) else nothing,
            mean_correct=float(right.mean()) if len(right) else nothing,
        )


@dataclass(frozen=True, slots=True)
class Offender:
    """An image whose estimated radius exceeds the distance of an adversarial example."""

    index: int
    bound: str
    radius: float
    distance: float


def attacked_distances(
    store: ResultStore, norm: str, indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Smallest distance per image over all attacks in ``norm``; NaN if not attacked."""
    nearest = np.full(len(indices), np.nan)
    for kind in ATTACKS:
        for group in store.existing(kind):
            if group.settings["norm"] == norm:
                nearest = np.fmin(nearest, group.column("distance", indices))
    return nearest


def attacked_error(distance: NDArray[np.float64], epsilon: float) -> float | None:
    """Share of the attacked images misclassified within ``epsilon``; None without attacks."""
    known = distance[~np.isnan(distance)]
    return float((known <= epsilon * (1 + ROUNDING)).mean()) if len(known) else None


def offenders(
    radii: Mapping[str, NDArray[np.float64]],
    distance: NDArray[np.float64],
    indices: NDArray[np.int64],
) -> tuple[Offender, ...]:
    """All images whose radius exceeds the distance, largest ratio of both first.

    Args:
        radii: estimated radii ``(n,)`` by column.
        distance: attacked distances ``(n,)``.
        indices: the images.
    """
    found = [
        Offender(int(indices[row]), name, float(values[row]), float(distance[row]))
        for name, values in radii.items()
        for row in np.flatnonzero(crossings(values, distance))
    ]
    return tuple(sorted(found, key=lambda one: -one.radius / max(one.distance, 1e-300)))
