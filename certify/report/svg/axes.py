"""Frame, axes and ticks of a figure, as inline SVG in the colours of the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 68.0, 14.0, 14.0, 46.0


TICK_LETTER = 7.6
"""Width of a digit of a tick label, in the widest of the fonts."""


Size = tuple[float, float]
"""Width and height of a figure; the size of its text does not depend on them."""


WIDE: Size = (660.0, 330.0)
LARGE: Size = (460.0, 290.0)
NARROW: Size = (360.0, 300.0)


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


def drawing(title: str, size: Size, parts: list[str]) -> str:
    """An SVG element of ``parts``, later ones on top."""
    width, height = size
    style = ' class="large"' if NARROW[0] < width < WIDE[0] else ""  # a phone enlarges its text
    name = escape(title)
    return (
        f'<svg{style} viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{''.join(parts)}</svg>"
    )


def framed(title: str, frame: Frame, parts: list[str]) -> str:
    """An SVG element of ``parts`` over the axes of ``frame``."""
    return drawing(title, frame.size, [axes_of(frame), *parts])


def axes_of(frame: Frame, *, y_ticks: bool = True) -> str:
    """Axes, ticks and labels of ``frame``."""
    parts, (width, height) = [], frame.size
    for tick in ticks(*frame.y, least=float(frame.counts)) if y_ticks else ():
        x, y = frame.at(frame.x[0], tick)
        text = f"{100 * tick:.0f} %" if frame.percent else number(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {y:.1f}H{width - RIGHT:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for tick in ticks(*frame.x, least=float(frame.positions)):
        x, y = frame.at(tick, frame.y[0])
        parts.append(f'<path class="axis" d="M{x:.1f} {y:.1f}v4"/>')
        text = number(tick)
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


def number(value: float) -> str:
    """A number beside an axis."""
    return f"{value:.4g}"
