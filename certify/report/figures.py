"""Figures of a report: the charts that the registry's analyses name, drawn as SVG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.auditing import ANALYSES
from robcert.certify.stats import reach_of, shares_above, step_places
from robcert.certify.tables import (
    Brackets,
    Histogram,
    HistogramRows,
    Lines,
    Place,
    Scatter,
    Series,
    Shares,
    SurfaceMap,
)

from .svg import LARGE, SMALL, brackets, curves, histogram, histogram_rows, scatter, surface_map

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robcert.certify.auditing import Readings
    from robcert.certify.store import ResultStore
    from robcert.certify.tables import Chart, Distances


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its claim and caption."""

    title: str
    claim: str
    svg: str
    caption: str


def figures(store: ResultStore, found: Readings) -> dict[Place, list[Figure]]:
    """Figures of each section, in the order of the page's sections of tables."""
    rows = sorted(ANALYSES, key=lambda row: row.section)
    charts = _combined(chart for row in rows for chart in row.charts(store, found))
    return {
        place: [
            Figure(chart.title, chart.claim, _drawn(chart), chart.caption)
            for chart in charts
            if chart.place is place
        ]
        for place in Place
    }


def _combined(charts: Iterable[Chart]) -> list[Chart]:
    """``charts``, where curves of shares under one title are one chart."""
    found: dict[tuple[object, ...], Chart] = {}
    for number, chart in enumerate(charts):
        shared = isinstance(chart.content, Shares)
        key = (chart.place, chart.title) if shared else (number,)
        found[key] = _joined(found[key], chart) if key in found else chart
    return list(found.values())


def _joined(one: Chart, other: Chart) -> Chart:
    """Both charts of shares as one, with the title and claim of the first."""
    if not (isinstance(one.content, Shares) and isinstance(other.content, Shares)):
        return one
    columns = (*one.content.columns, *other.content.columns)
    caption = " ".join(dict.fromkeys((one.caption, other.caption)))
    return replace(one, content=replace(one.content, columns=columns), caption=caption)


def _drawn(chart: Chart) -> str:
    """``chart`` as an SVG element."""
    content, title = chart.content, chart.name or chart.title
    match content:
        case Lines():
            return curves(
                content.series,
                x_label=content.x_label,
                y_label=content.y_label,
                share=content.percent,
                title=title,
                size=SMALL if chart.place is Place.MASKING else LARGE,
            )
        case Shares():
            return curves(
                _survival_curves(content), x_label=content.x_label, y_label="accuracy", title=title
            )
        case Histogram():
            return histogram(
                content.values,
                claim=chart.claim,
                x_label=content.x_label,
                title=title,
                bins=content.bins,
                density=content.density,
            )
        case Scatter():
            return scatter(
                content.points,
                content.flagged,
                x_label=content.x_label,
                y_label=content.y_label,
                title=title,
            )
        case HistogramRows():
            return histogram_rows(content.rows, x_label=content.x_label, title=title)
        case SurfaceMap():
            return surface_map(
                content.loss, content.prediction, epsilon=content.epsilon, title=title
            )
        case Brackets():
            return brackets(
                content.lower,
                content.upper,
                x_label=content.x_label,
                y_label=content.y_label,
                title=title,
            )


def _survival_curves(content: Shares) -> tuple[Series, ...]:
    columns = [column.values for column in content.columns]
    if content.to_the_end:
        reach = max((float(values.max(initial=0.0)) for values in columns), default=0.0)
    else:
        reach = reach_of(columns)
    return tuple(_survival(column, reach or 1.0) for column in content.columns)


def _survival(column: Distances, reach: float) -> Series:
    """Share of the images above every distance up to ``reach`` (misclassified images have 0)."""
    values = column.values[~np.isnan(column.values)]
    places = step_places(values, reach) if len(values) else np.empty(0)
    value, lower, upper = shares_above(values, places).T.tolist()
    points = tuple(zip(places.tolist(), value, strict=True))
    label = f"{column.name} ({column.claim})"
    low, high = tuple(lower), tuple(upper)
    return Series(label, column.claim, points, low, high, step=True, style=column.style)
