"""Figures of the report as inline SVG, in the page's colours: light, dark or printed.

For the masking section: stacked histograms, a loss surface, a bar with confidence limits.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.tables import decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.tables import Points, Series


LEFT, RIGHT, TOP, BOTTOM = 68.0, 14.0, 14.0, 46.0

TICK_LETTER = 7.6
"""Width of a digit of a tick label, in the widest of the fonts."""

Size = tuple[float, float]
"""Width and height of a figure; the size of its text does not depend on them."""

LARGE: Size = (560.0, 300.0)
SMALL: Size = (300.0, 210.0)


@dataclass(frozen=True, slots=True)
class Frame:
    """Axes of one figure: the range of each and its label.

    ``percent`` labels y in percent, ``counts`` only at whole numbers; ``positions`` labels x so.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    percent: bool = False
    size: Size = LARGE
    counts: bool = False
    positions: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Position of (x, y) in the figure."""
        width, height = self.size
        return (
            LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (width - LEFT - RIGHT),
            height - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (height - TOP - BOTTOM),
        )


def curves(
    series: tuple[Series, ...],
    *,
    x_label: str,
    y_label: str,
    share: bool = True,
    title: str,
    size: Size = LARGE,
) -> str:
    """Figure of curves; axes start at zero, shares go from 0 to 100 %."""
    rightmost = max((x for one in series for x, _ in one.points), default=1.0) or 1.0
    heights = [y for one in series for y in (*(y for _, y in one.points), *one.high)]
    top = 1.0 if share else (max(heights, default=1.0) or 1.0) * 1.05
    frame = Frame((0.0, rightmost), (0.0, top), x_label, y_label, share, size)
    parts = [_band(one, frame) for one in series] + [_line(one, frame) for one in series]
    return _svg(title, frame, parts) + _legend([(one.name, one.look) for one in series])


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
    legend = [("seen", "measured" if density else claim)]
    if density is not None:
        parts = [part.replace(f"bar {claim}", "bar measured") for part in parts]
        parts.append(_line(density, frame))
        legend.append((density.name, density.claim))
    return _svg(title, frame, parts) + (_legend(legend) if density is not None else "")


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
    return _svg(title, frame, parts)


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
    return _svg(title, frame, [part for part in parts if part]) + _legend(list(named))


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


def picture(image: NDArray[np.float32], *, title: str) -> str:
    """An image ``(c, h, w)`` in [0, 1] (one or three channels) as an inline PNG."""
    data = base64.b64encode(png(image)).decode()
    return f'<img alt="{escape(title)}" title="{escape(title)}" src="data:image/png;base64,{data}">'


def png(image: NDArray[np.float32]) -> bytes:
    """PNG file of ``image (c, h, w)``, 8 bits per channel (ISO/IEC 15948)."""
    levels = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    levels = levels if levels.shape[2] in (1, 3) else levels[:, :, :1]
    height, width, channels = levels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def drawing(title: str, size: Size, parts: list[str]) -> str:
    """An SVG element of ``parts``, later ones on top."""
    width, height = size
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _svg(title: str, frame: Frame, parts: list[str]) -> str:
    return drawing(title, frame.size, [axes_of(frame), *parts])


def axes_of(frame: Frame, *, y_ticks: bool = True) -> str:
    """Axes, ticks and labels of ``frame``."""
    parts, (width, height) = [], frame.size
    for tick in ticks(*frame.y, least=float(frame.counts)) if y_ticks else ():
        x, y = frame.at(frame.x[0], tick)
        text = f"{100 * tick:.0f} %" if frame.percent else _number(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {y:.1f}H{width - RIGHT:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for tick in ticks(*frame.x, least=float(frame.positions)):
        x, y = frame.at(tick, frame.y[0])
        parts.append(f'<path class="axis" d="M{x:.1f} {y:.1f}v4"/>')
        text = _number(tick)
        inside = min(x, width - TICK_LETTER * len(text) / 2)
        place = f'x="{inside:.1f}" y="{y + 18:.1f}" text-anchor="middle"'
        parts.append(f'<text class="tick" {place}>{text}</text>')
    bottom, middle = height - BOTTOM, (LEFT + width - RIGHT) / 2
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{width - RIGHT}"/>')
    parts.append(
        f'<text class="label" x="{middle:.1f}" y="{height - 8:.1f}" text-anchor="middle">'
        f"{escape(frame.x_label)}</text>"
    )
    parts.append(
        f'<text class="label" transform="translate(13 {(TOP + bottom) / 2:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escape(frame.y_label)}</text>'
    )
    return "".join(parts)


def ticks(low: float, high: float, about: int = 5, least: float = 0.0) -> list[float]:
    """Round numbers from ``low`` to ``high``, 1, 2 or 5 times a power of ten and ``least`` apart.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    step = max(step, least)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(position * step, 12) for position in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}"


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
        f"<title>{_number(edges[0])} to {_number(edges[1])}: {_number(height)}</title></rect>"
    )


def _legend(entries: list[tuple[str, str]]) -> str:
    items = "".join(
        f'<li><span class="key {claim}"></span>{escape(name)}</li>' for name, claim in entries
    )
    return f'<ul class="legend">{items}</ul>'


BINS = 24
_COLOURS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])
"""Five colours of a scale from dark to light, evenly spaced in lightness."""


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


def surface_map(
    loss: NDArray[np.float64], prediction: NDArray[np.int64], *, epsilon: float, title: str
) -> str:
    """Loss ``(m, m)`` as an image, light is high, with the borders of predicted classes.

    The first axis (adversarial direction) points right; both range from -epsilon to epsilon.
    """
    reach = (-epsilon, epsilon)
    frame = Frame(reach, reach, "adversarial direction", "random direction", size=SMALL)
    (left, bottom), (right, top) = frame.at(-epsilon, -epsilon), frame.at(epsilon, epsilon)
    data = base64.b64encode(png(_coloured(loss))).decode()
    place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    borders = _borders(prediction, (left, top, right, bottom))
    x, y = frame.at(0.0, 0.0)
    parts = [
        axes_of(frame),
        f'<image {place} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>',
        f'<path class="border" d="{borders}"/>',
        f'<circle class="here" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>',
    ]
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


def _coloured(loss: NDArray[np.float64], scale: int = 6) -> NDArray[np.float32]:
    """Image ``(3, h, w)`` of ``loss``, smoothly enlarged; x to the right, y upwards."""
    m = len(loss)
    finite = np.nan_to_num(loss, nan=0.0, posinf=0.0, neginf=0.0)
    fine = np.linspace(0, m - 1, m * scale)
    along = np.stack([np.interp(fine, np.arange(m), line) for line in finite.T], axis=1)
    both = np.stack([np.interp(fine, np.arange(m), line) for line in along], axis=0)
    spread = float(np.ptp(both))
    share = (both - both.min()) / spread if spread > 0 else np.zeros_like(both)
    stations = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(share, stations, _COLOURS[:, c]) / 255 for c in range(3)]
    return np.stack(channels).transpose(0, 2, 1)[:, ::-1].astype(np.float32)


def _borders(classes: NDArray[np.int64], box: tuple[float, float, float, float]) -> str:
    """Path between neighbouring points of different classes, within left, top, right, bottom."""
    left, top, right, bottom = box
    last = len(classes) - 1
    step = ((right - left) / last, (bottom - top) / last)

    def at(i: float, j: float) -> str:
        i, j = min(max(i, 0.0), last), min(max(j, 0.0), last)
        return f"{left + i * step[0]:.1f} {bottom - j * step[1]:.1f}"

    path = ""
    for i, j in np.argwhere(classes[1:] != classes[:-1]).tolist():
        path += f"M{at(i + 0.5, j - 0.5)}L{at(i + 0.5, j + 0.5)}"
    for i, j in np.argwhere(classes[:, 1:] != classes[:, :-1]).tolist():
        path += f"M{at(i - 0.5, j + 0.5)}L{at(i + 0.5, j + 0.5)}"
    return path
