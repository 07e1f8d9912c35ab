"""Figures of bars: brackets, stacked histograms, a share with its limits."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.tables import decimal

from .axes import BOTTOM, LEFT, RIGHT, SMALL, TOP, Frame, axes_of, drawing, framed
from .marks import Entry, legend

if TYPE_CHECKING:
    from numpy.typing import NDArray


def brackets(
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    *,
    x_label: str,
    y_label: str,
    title: str,
) -> str:
    """One column per image: certified up to ``lower``, open to ``upper``, a mark there.

    Where ``upper`` is infinite, or beyond the axis, the open part reaches the top and has no mark.
    """
    finite = upper[np.isfinite(upper)]
    reach = [float(lower.max(initial=0.0)), float(np.quantile(finite, 0.98)) if len(finite) else 0]
    top = 1.05 * max(reach) or 1.0
    columns = (0.0, float(max(len(lower), 1)))
    frame = Frame(columns, (0.0, top), x_label, y_label, positions=True)
    parts, mark = [], 0.006 * top
    for column, (low, high) in enumerate(zip(lower.tolist(), upper.tolist(), strict=True)):
        sides = (float(column), column + 1.0)
        # bars are translucent: where the mark covered the open part, it would have two colours
        parts.append(_block(frame, sides, (low, min(high - mark, top)), "measured"))
        parts.append(_block(frame, sides, (0.0, low), "certified"))
        if high <= top:
            parts.append(_block(frame, sides, (high - mark, high + mark), "attacked"))
    named = ("certified", "certified"), ("open", "measured"), ("attacked", "attacked")
    entries = [Entry(name, claim, shape="block") for name, claim in named]
    return framed(title, frame, [part for part in parts if part]) + legend(entries)


def _block(
    frame: Frame, sides: tuple[float, float], heights: tuple[float, float], claim: str
) -> str:
    """A rectangle between two heights of a column; empty if it has no height."""
    (left, top), (right, bottom) = (
        frame.at(sides[0], heights[1]),
        frame.at(sides[1], max(heights[0], 0.0)),
    )
    if bottom - top <= 0:
        return ""
    gap = 0.12 * (right - left)
    return (
        f'<rect class="bar {claim}" x="{left + gap:.2f}" y="{top:.2f}" '
        f'width="{right - left - 2 * gap:.2f}" height="{bottom - top:.2f}"/>'
    )


BINS = 24


def histogram_rows(
    rows: tuple[tuple[str, NDArray[np.float64]], ...], *, x_label: str, title: str
) -> str:
    """Histograms of shares in [0, 1], stacked over one axis, each scaled to its peak."""
    width, height = SMALL
    frame = Frame((0.0, 1.0), (0.0, float(len(rows))), x_label, "", size=SMALL)
    parts = [axes_of(frame, y_ticks=False)]
    for place, (name, values) in enumerate(rows):
        base = len(rows) - 1 - place
        counts, edges = np.histogram(values, bins=BINS, range=(0.0, 1.0))
        for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
            if count:
                (x0, y0), (x1, y1) = (
                    frame.at(float(left), base + 0.78 * float(count / counts.max())),
                    frame.at(float(right), base),
                )
                parts.append(
                    f'<rect class="bar solid" x="{x0 + 0.5:.1f}" y="{y0:.1f}" '
                    f'width="{x1 - x0 - 1:.1f}" height="{y1 - y0:.1f}">'
                    f"<title>{escape(name)}, {left:.2f} to {right:.2f}: {count}</title></rect>"
                )
        _, y = frame.at(0.0, base)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{width - RIGHT}"/>')
        middle = y - (height - TOP - BOTTOM) / len(rows) / 2 + 4
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">'
            f"{escape(name)}</text>"
        )
    return drawing(title, SMALL, parts)


def limit_bar(value: float, limits: tuple[float, float], threshold: float | None) -> str:
    """A share in [0, 1] with its interval, and a tick at the threshold of its lower limit."""
    width, height, middle = 120.0, 14.0, 7.0

    def at(share: float) -> float:
        return 4 + min(max(share, 0.0), 1.0) * (width - 8)

    low, high = (at(limit) for limit in limits)
    said, tick = decimal(value, 3), ""
    if threshold is not None:
        said += f", flagged above {decimal(threshold, 3)}"
        tick = f'<path class="threshold" d="M{at(threshold):.1f} 1V13"/>'
    return (
        f'<svg class="limit" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{said}"><title>{said}</title>'
        f'<path class="track" d="M4 {middle}H{width - 4}"/>'
        f'<path class="spread" d="M{low:.1f} {middle}H{max(high, low + 1):.1f}"/>{tick}'
        f'<circle cx="{at(value):.1f}" cy="{middle}" r="3.6"/></svg>'
    )
