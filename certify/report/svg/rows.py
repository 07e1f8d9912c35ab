"""Figure of shares or differences with their intervals, one row per name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from .axes import drawing, ticks
from .marks import Entry, legend, mark

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, RIGHT, LINE, GAP, TOP, BOTTOM = 460.0, 22.0, 13.0, 9.0, 6.0, 40.0
LETTER = 7.2
"""Mean width of a letter of a name."""

SHORT = 15
"""Longest name that is placed left of its row; longer ones are placed above."""

LONGEST = 66
"""Longest name that is shown as it is; of longer ones the beginning, with an ellipsis."""


@dataclass(frozen=True, slots=True)
class Point:
    """A number with its limits; each of a row has a height of its own, so that none covers another.

    Attributes:
        claim: certified, estimated, attacked or measured.
        value: the number.
        lower: its lower limit.
        upper: its upper limit.
        text: its name and numbers for readers who do not see the figure.
        look: style sheet class if it is not the claim.
    """

    claim: str
    value: float
    lower: float
    upper: float
    text: str
    look: str = ""


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One row of the figure."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """The horizontal axis, in percent.

    Attributes:
        label: what it shows.
        low: left end, as a share.
        high: right end.
    """

    label: str
    low: float = 0.0
    high: float = 1.0


def interval_rows(
    rows: tuple[IntervalRow, ...], axis: Axis, *, title: str, named: tuple[Entry, ...]
) -> str:
    """Rows of points with their intervals over one axis.

    Args:
        rows: the rows, top first.
        axis: the axis; a vertical line marks 0 where it lies inside.
        title: text for readers who do not see the figure.
        named: entries of the legend.
    """
    longest = max((len(row.name) for row in rows), default=0)
    above = longest > SHORT
    left = 14.0 if above else 20 + LETTER * longest
    heights = [LINE * max(len(row.points), 1) + GAP + (17 if above else 0) for row in rows]
    size = (WIDTH, TOP + sum(heights) + BOTTOM)

    def at(share: float) -> float:
        place = (min(max(share, axis.low), axis.high) - axis.low) / (axis.high - axis.low)
        return left + place * (WIDTH - RIGHT - left)

    parts = [_axis(axis, at, size[1] - BOTTOM)]
    top = TOP
    for row, height in zip(rows, heights, strict=True):
        parts.append(_name(row.name, left, top, above=above, count=len(row.points)))
        first = top + (17 if above else 0) + LINE / 2 + 2
        parts += [_point(p, at, first + LINE * place) for place, p in enumerate(row.points)]
        top += height
        parts.append(f'<path class="grid" d="M{left:.1f} {top - 1:.1f}H{WIDTH - RIGHT:.1f}"/>')
    entries = [replace(entry, shape="interval") for entry in named]
    return drawing(title, size, parts) + legend(entries)


def shown(name: str, longest: int = LONGEST) -> str:
    """``name``, or its beginning and an ellipsis.

    >>> shown("a long name", 6)
    'a lon…'
    """
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _name(name: str, left: float, top: float, *, above: bool, count: int) -> str:
    full = f"<title>{escape(name)}</title>"
    if above:
        place = f'x="{left:.1f}" y="{top + 13:.1f}"'
        return f'<text class="label" {place}>{full}{escape(shown(name))}</text>'
    place = f'x="{left - 8:.1f}" y="{top + LINE * max(count, 1) / 2 + 6:.1f}" text-anchor="end"'
    return f'<text class="label" {place}>{full}{escape(name)}</text>'


def _point(point: Point, at: Callable[[float], float], y: float) -> str:
    low, high = at(point.lower), at(point.upper)
    look = point.look or point.claim
    line = f'<path class="whisker {look}" d="M{low:.1f} {y:.1f}H{max(high, low + 1):.1f}"/>'
    drawn = line + mark(point.claim, (at(point.value), y), look=look)
    return f"<g><title>{escape(point.text)}</title>{drawn}</g>"


def _axis(axis: Axis, at: Callable[[float], float], bottom: float) -> str:
    parts = []
    for tick in ticks(axis.low, axis.high):
        x, text = at(tick), f"{100 * tick:.0f} %" if tick else "0 %"
        style = "zero" if tick == 0 and axis.low < 0 else "grid"
        inside = max(x, 14.0)
        parts.append(f'<path class="{style}" d="M{x:.1f} {TOP}V{bottom:.1f}"/>')
        place = f'x="{inside:.1f}" y="{bottom + 16:.1f}" text-anchor="middle"'
        parts.append(f'<text class="tick" {place}>{text}</text>')
    middle = (at(axis.low) + at(axis.high)) / 2
    place = f'x="{middle:.1f}" y="{bottom + 33:.1f}" text-anchor="middle"'
    parts.append(f'<text class="label" {place}>{escape(axis.label)}</text>')
    return "".join(parts)
