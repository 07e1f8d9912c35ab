"""Mean, median, 95 % quantile and maximum of per-image numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SummaryStatistics:
    """Mean, median, 95 % quantile and maximum over ``n`` images."""

    mean: float
    median: float
    q95: float
    max: float
    n: int


def summary_statistics(values: NDArray[np.float64]) -> SummaryStatistics:
    """Mean, median, 95 % quantile and maximum of ``values``; NaN where there are none."""
    if not len(values):
        nothing = float("nan")
        return SummaryStatistics(nothing, nothing, nothing, nothing, 0)
    q95 = float(np.quantile(values, 0.95))
    return SummaryStatistics(
        float(values.mean()), float(np.median(values)), q95, float(values.max()), len(values)
    )
