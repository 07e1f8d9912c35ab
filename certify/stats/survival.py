"""Share of images beyond each distance, as a curve whose every step is an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .intervals import clopper_pearson_lower, clopper_pearson_upper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STEPS = 1000
"""Most steps of a curve; of more images the steps are finer than a picture shows."""


def reach_of(columns: Sequence[NDArray[np.float64]]) -> float:
    """How far a picture of distances goes: as far as 98 % of the finite ones of each column."""
    finite = [values[np.isfinite(values)] for values in columns]
    return max((float(np.quantile(values, 0.98)) for values in finite if len(values)), default=0.0)


def step_places(
    values: NDArray[np.float64], reach: float, asked: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Where the share of ``values`` above a distance falls, from 0 to ``reach``; and ``asked``."""
    falls = np.unique(values[(values > 0) & (values < reach)])
    if len(falls) > STEPS:
        falls = falls[np.linspace(0, len(falls) - 1, STEPS).round().astype(int)]
    return np.unique([0.0, *falls, reach, *asked])


def shares_above(
    values: NDArray[np.float64], places: NDArray[np.float64], level: float = 0.95
) -> NDArray[np.float64]:
    """Share of ``values`` above each place with its Clopper-Pearson limits ``(m, 3)``.

    It holds from that place to the next of :func:`step_places`.
    """
    above = len(values) - np.searchsorted(np.sort(values), places, side="right")
    side, trials = (1 - level) / 2, len(values)
    lower = clopper_pearson_lower(above, trials, side)
    return np.stack([above / trials, lower, clopper_pearson_upper(above, trials, side)], axis=1)
