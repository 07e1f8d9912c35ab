"""Figures of a report: the charts that the registry's analyses name, drawn as SVG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.auditing import ANALYSES, Section
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
    """A figure with its claim and caption.

    Attributes:
        title: heading.
        claim: certified, estimated, attacked or measured.
        svg: the drawing.
        caption: sentences below it.
        section: kind of the analysis that made it.
        place: part of the page that its chart names.
    """

    title: str
    claim: str
    svg: str
    caption: str
    section: Section
    place: Place


def figures(store: ResultStore, found: Readings) -> tuple[Figure, ...]:
    """Figures of all analyses, in the order of the page's sections of tables."""
    rows = sorted(ANALYSES, key=lambda row: row.section)
    made = _combined((chart, row.section) for row in rows for chart in row.charts(store, found))
    return tuple(
        Figure(chart.title, chart.claim, _drawn(chart), chart.caption, section, chart.place)
        for chart, section in made
    )


def accuracy_title(norm: str) -> str:
    """Title of the figure of accuracies in ``norm``, to which several analyses add curves."""
    return f"accuracy within ε ({norm})"


def _combined(charts: Iterable[tuple[Chart, Section]]) -> list[tuple[Chart, Section]]:
    """``charts``, where curves of shares under one title are one chart of the first's section."""
    found: dict[tuple[object, ...], tuple[Chart, Section]] = {}
    for number, (chart, section) in enumerate(charts):
        shared = isinstance(chart.content, Shares)
        key = (chart.place, chart.title) if shared else (number,)
        first, own = found.get(key, (None, section))
        found[key] = (chart if first is None else _joined(first, chart), own)
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
                content, title=title, size=SMALL if chart.place is Place.MASKING else LARGE
            )
        case Shares():
            return curves(survival_lines(content), title=title)
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


def survival_lines(content: Shares, least: float = 0.0) -> Lines:
    """Shares of images beyond each distance as curves, up to the distance ``least`` or farther."""
    columns = [column.values for column in content.columns]
    if content.to_the_end:
        reach = max((float(values.max(initial=0.0)) for values in columns), default=0.0)
    else:
        reach = reach_of(columns)
    reach = max([reach, least, *(at for column in content.columns for at in column.only_at)])
    series = tuple(_survival(column, reach or 1.0) for column in content.columns)
    return Lines(series, content.x_label, "accuracy")


def _survival(column: Distances, reach: float) -> Series:
    """Share of the images above every distance up to ``reach`` (misclassified images have 0)."""
    values = column.values[~np.isnan(column.values)]
    places = step_places(values, reach) if len(values) else np.empty(0)
    look, known = column.style, column.only_at
    if known and len(values):
        places = np.array([0.0, *known])
        look = f"{look or column.claim} apart"
    value, lower, upper = shares_above(values, places).T.tolist()
    points = tuple(zip(places.tolist(), value, strict=True))
    label = f"{column.name} ({column.claim})"
    low, high = tuple(lower), tuple(upper)
    return Series(label, column.claim, points, low, high, step=not known, style=look)
