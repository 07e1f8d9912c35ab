"""Pictures of an outcome as inline SVG, each with its caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.report import Axis, Entry, IntervalRow, Point, curves, interval_rows
from robcert.certify.tables import Lines, Series

from .outcome import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .item import Column, Curves
    from .outcome import Cell, Outcome

LOOKS = ("run0", "run1", "strong", "run2", "run3", "solid", "naive")
"""Style of each curve, in turn."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure of the page."""

    title: str
    claim: str
    svg: str
    caption: str


def pictures(outcome: Outcome) -> list[Picture]:
    """The item's own figures, then one for each column of shares."""
    item = outcome.request.item
    own = [_curves(outcome, figure) for figure in item.figures]
    columns = [
        _column(outcome, place, column)
        for place, column in enumerate(item.columns)
        if column.form != "value"
    ]
    return [picture for picture in (*own, *columns) if picture is not None]


def _column(outcome: Outcome, place: int, column: Column) -> Picture | None:
    """Ours and published of each row."""
    found = [(cells[place].row.name, tuple(_points(cells[place]))) for cells in outcome.cells]
    rows = tuple(IntervalRow(name, points) for name, points in found if points)
    if not rows:
        return None
    what = "error" if column.form == "error" else "share"
    named = [Entry("ours", column.claim)]
    if any(cells[place].published is not None for cells in outcome.cells):
        named.append(Entry("published", "measured", "best"))
    drawn = interval_rows(rows, Axis(what), title=column.title, named=tuple(named))
    caption = f"Whiskers: {outcome.interval}."
    return Picture(column.title, column.claim, drawn, caption)


def _points(cell: Cell) -> Iterator[Point]:
    title = f"{cell.row.name}, {cell.column.title}"
    if cell.ours is not None:
        low, high = (
            cell.ours.value if limit is None else limit
            for limit in (cell.ours.lower, cell.ours.upper)
        )
        said = f"{title}: ours {text(cell.ours.value)} [{text(low)}, {text(high)}]"
        ours = cell.ours.value / 100
        yield Point(cell.column.claim, ours, low / 100, high / 100, said)
    if cell.published is not None:
        share = cell.published / 100
        said = f"{title}: published {text(cell.published)}"
        yield Point("measured", share, share, share, said, "best")


def _curves(outcome: Outcome, figure: Curves) -> Picture | None:
    series = tuple(
        Series(name, figure.claim, points, style=LOOKS[place % len(LOOKS)])
        for place, (name, points) in enumerate(_named_points(outcome, figure))
        if points
    )
    if not series:
        return None
    lines = Lines(series, figure.x_label, figure.y_label, figure.percent)
    seeds = outcome.request.seeds
    of_first = "Seed 0 of each model." if seeds > 1 else "One training of each model."
    return Picture(figure.title, figure.claim, curves(lines, title=figure.title), of_first)


def _named_points(
    outcome: Outcome, figure: Curves
) -> Iterator[tuple[str, tuple[tuple[float, float], ...]]]:
    for cells in outcome.cells:
        row = cells[0].row
        if not figure.analysis:
            numbers = [(place, cell.ours) for place, cell in enumerate(cells)]
            yield row.name, tuple((at + 1.0, o.value / 100) for at, o in numbers if o is not None)
            continue
        for job, known in outcome.work:
            if job.model.name == row.model and job.seed == 0 and figure.analysis in known.analyses:
                yield row.name, known.analyses[figure.analysis].curves.get(figure.curve, ())
