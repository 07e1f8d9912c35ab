"""Curves, histograms and scatter plots."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .axes import LARGE, TOP, Frame, Size, framed, number
from .marks import Entry, legend, mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.tables import Lines, Points, Series

MARKS = 4
"""Marks of each curve made of steps."""


def curves(
    content: Lines, *, title: str, size: Size = LARGE, at: tuple[float, str] | None = None
) -> str:
    """Figure of curves; axes start at zero, shares go from 0 to 100 %.

    Curves of steps have the marks of their claims, each curve at places of its own. ``at`` is the
    place of a vertical line with its label.
    """
    series = content.series
    rightmost = max((x for one in series for x, _ in one.points), default=1.0) or 1.0
    heights = [y for one in series for y in (*(y for _, y in one.points), *one.high)]
    top = 1.0 if content.percent else (max(heights, default=1.0) or 1.0) * 1.05
    ranges = (0.0, rightmost), (0.0, top)
    frame = Frame(*ranges, content.x_label, content.y_label, content.percent, size)
    parts = [_band(one, frame) for one in series] + [_line(one, frame) for one in series]
    parts += [_marks(one, frame, (number + 0.5) / len(series)) for number, one in enumerate(series)]
    if at is not None:
        parts.insert(0, _vertical(frame, *at))
    entries = [Entry(one.name, one.claim, one.look) for one in series]
    return framed(title, frame, parts) + legend(entries)


def histogram(
    values: NDArray[np.float64],
    *,
    claim: str,
    x_label: str,
    title: str,
    bins: int = 24,
    density: Series | None = None,
) -> str:
    """Histogram of ``values``; with ``density`` the bars have area one, with the curve on top."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    heights, edges = np.histogram(values, bins=bins, range=(low, high), density=density is not None)
    top = float(heights.max())
    if density is not None:
        top = max(top, max((y for _, y in density.points), default=0.0))
    label = "density" if density is not None else "images"
    frame = Frame((low, high), (0.0, top * 1.05), x_label, label, counts=density is None)
    parts = [
        _bar(frame, (float(left), float(right)), float(height), claim)
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True)
        if height > 0
    ]
    entries = [Entry("seen", "measured" if density else claim, shape="block")]
    if density is not None:
        parts = [part.replace(f"bar {claim}", "bar measured") for part in parts]
        parts.append(_line(density, frame))
        entries.append(Entry(density.name, density.claim))
    return framed(title, frame, parts) + (legend(entries) if density is not None else "")


def scatter(
    points: Points, flagged: tuple[bool, ...], *, x_label: str, y_label: str, title: str
) -> str:
    """Scatter plot with the diagonal; flagged points are marked. Both axes have one range."""
    highest = max((max(point) for point in points), default=1.0) * 1.05 or 1.0
    frame = Frame((0.0, highest), (0.0, highest), x_label, y_label)
    (x0, y0), (x1, y1) = frame.at(0, 0), frame.at(highest, highest)
    parts = [f'<path class="diagonal" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>']
    for point, flag in zip(points, flagged, strict=True):
        x, y = frame.at(*point)
        kind = "dot violation" if flag else "dot"
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{4 if flag else 2.6}"/>')
    return framed(title, frame, parts)


def _line(series: Series, frame: Frame) -> str:
    places = _outline(series, [y for _, y in series.points], frame)
    if not places:
        return ""
    path = f"M{' L'.join(f'{x:.1f} {y:.1f}' for x, y in places)}"
    dots = ""
    if not series.step and len(places) <= 16:
        dots = "".join(
            f'<circle class="point {series.look}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
            for x, y in places
        )
    return f'<path class="line {series.look}" d="{path}"/>{dots}'


def _marks(series: Series, frame: Frame, offset: float) -> str:
    """Marks of the claim on a curve of steps, ``offset`` (0 to 1) of their distance from the left.

    Curves with other offsets have theirs elsewhere, so that marks do not cover each other.
    """
    if not series.step or not series.points:
        return ""
    x, y = np.array(series.points).T
    wide = frame.x[1] - frame.x[0]
    places = [frame.x[0] + wide * (number + offset) / MARKS for number in range(MARKS)]
    steps = np.searchsorted(x, places, side="right") - 1
    drawn = (
        mark(series.claim, frame.at(place, float(y[step])), look=series.look)
        for place, step in zip(places, steps.tolist(), strict=True)
        if place <= x[-1]
    )
    return "".join(drawn)


def _vertical(frame: Frame, x: float, label: str) -> str:
    """A vertical line over the whole height with its label at the top; nothing beyond the axis."""
    if not frame.x[0] <= x <= frame.x[1]:
        return ""
    (left, bottom), (_, top) = frame.at(x, frame.y[0]), frame.at(x, frame.y[1])
    right = left > frame.size[0] * 0.6
    place = f'x="{left - 6 if right else left + 6:.1f}" y="{TOP + 12:.1f}"'
    anchor = "end" if right else "start"
    return (
        f'<path class="here-line" d="M{left:.1f} {bottom:.1f}V{top:.1f}"/>'
        f'<text class="here-label" {place} text-anchor="{anchor}">{escape(label)}</text>'
    )


def _band(series: Series, frame: Frame) -> str:
    if not series.low or not series.high:
        return ""
    upper, lower = (_outline(series, heights, frame) for heights in (series.high, series.low))
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
    return f'<polygon class="band {series.look}" points="{corners}"/>'


def _outline(series: Series, heights: Sequence[float], frame: Frame) -> list[tuple[float, float]]:
    """Corners of a line through ``heights`` at the series' x."""
    places = [frame.at(x, y) for (x, _), y in zip(series.points, heights, strict=True)]
    if not series.step:
        return places
    corners = places[:1]
    for (_, before), (x, y) in pairwise(places):
        corners += [(x, before), (x, y)]
    return corners


def _bar(frame: Frame, edges: tuple[float, float], height: float, claim: str) -> str:
    left, top = frame.at(edges[0], height)
    right, bottom = frame.at(edges[1], 0.0)
    return (
        f'<rect class="bar {claim}" x="{left + 0.5:.1f}" y="{top:.1f}" '
        f'width="{max(right - left - 1, 0.5):.1f}" height="{bottom - top:.1f}">'
        f"<title>{number(edges[0])} to {number(edges[1])}: {number(height)}</title></rect>"
    )
