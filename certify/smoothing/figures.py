"""Charts of the report: certified accuracy against radius, noise draws per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.tables import Chart, Distances, Histogram, Shares, decimal

from .summary import all_draws, certified_radii

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

    from .summary import SmoothingSummary

RUN_STYLES = 4
"""Style sheet classes for several curves of one claim."""


def charts(
    store: ResultStore, found: Sequence[tuple[SmoothingSummary, AnalysisGroup]]
) -> Iterator[Chart]:
    """Certified accuracy of all runs in one chart, then the draws of each."""
    groups = [group for _, group in found]
    if groups:
        yield _certified(store, groups)
    yield from map(_draws, groups)


def _certified(store: ResultStore, found: list[AnalysisGroup]) -> Chart:
    columns = tuple(
        Distances(
            _run(group), "certified", _certified_radii(store, group), f"run{number % RUN_STYLES}"
        )
        for number, group in enumerate(found)
    )
    caption = "Share of images that are classified correctly and certified to a larger radius."
    caption += " Bands: 95 % intervals."
    if len(found) > 1:
        caption += " Each curve is a separate smoothed classifier; radii are not combined."
    content = Shares(columns, "certified radius (l2)", to_the_end=True)
    title = "certified accuracy against radius"
    return Chart(title, "certified", caption, content, name="certified")


def _certified_radii(store: ResultStore, group: AnalysisGroup) -> NDArray[np.float64]:
    """Certified radii, -1 where the smoothed classifier abstained or is wrong."""
    indices = _finished(group)
    prediction = group.column("prediction", indices)
    labels = store.labels[store.rows(indices)]
    right = (prediction == labels) | ((labels < 0) & (prediction >= 0))
    return np.where(right, certified_radii(group, indices), -1.0)


def _finished(group: AnalysisGroup) -> NDArray[np.int64]:
    """Images of the result; a time budget may have excluded some."""
    indices = group.indices
    return indices[group.computed(indices)]


def _run(group: AnalysisGroup) -> str:
    """Name of one smoothing run among several."""
    settings = group.settings
    parts = [f"σ = {settings.get('sigma'):g}", f"n = {settings.get('n')}"]
    parts += [str(settings["mode"])] if settings.get("mode") != "grid" else []
    parts += [word for word in ("exact", "runner_up", "label_mode") if settings.get(word)]
    precision = settings.get("precision", "float32")
    parts += [precision] if precision != "float32" else []
    return ", ".join(part.replace("_", "-") for part in parts)


def _draws(group: AnalysisGroup) -> Chart:
    used = all_draws(group, _finished(group)).astype(np.float64)
    caption = f"{_run(group)}: mean {decimal(used.mean(), 6)}, at most {used.max():.0f} noise draws"
    caption += " per image, all counted: those that selected the class too."
    content = Histogram(np.log10(used.clip(min=1.0)), "log₁₀ of noise draws per image")
    return Chart("noise draws per image", "measured", caption, content)
