"""Chart of the report: histogram of the root of gamma over the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.tables import Chart, Histogram, pixel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.store import AnalysisGroup, ResultStore

    from .summary import LinearitySummary


def charts(
    _: ResultStore, found: Sequence[tuple[LinearitySummary, AnalysisGroup]]
) -> Iterator[Chart]:
    """One histogram per table of ``found``."""
    for summary, group in found:
        gamma = np.asarray(group.column("gamma", group.indices), dtype=np.float64)
        gamma = gamma[np.isfinite(gamma)]
        label = f"√γ at ε = {pixel(summary.epsilon)} ({summary.norm})"
        caption = "Near 0 the loss is almost linear; in a long tail gradients are misleading."
        content = Histogram(np.sqrt(gamma.clip(min=0.0)), label)
        yield Chart("local linearity", "estimated", caption, content, name="gamma")
