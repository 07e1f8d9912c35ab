"""Small pictures of the masking section: histograms one above the other, a surface, a limit bar."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .report_plots import BOTTOM, LEFT, RIGHT, SMALL, TOP, Frame, axes_of, drawing, png
from .wording import decimal

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 24
_COLOURS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])
"""Five stations of a scale from dark to light whose lightness rises evenly."""


def histogram_rows(
    rows: tuple[tuple[str, NDArray[np.float64]], ...], *, x_label: str, title: str
) -> str:
    """Histograms of shares in [0, 1], one row each over one axis, every row as high as its peak."""
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
                    f"<title>{name}, {left:.2f} to {right:.2f}: {count}</title></rect>"
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
    """Loss ``(m, m)`` from above, light is high, with the borders between predicted classes.

    The first axis (adversarial direction) runs to the right; both run from -epsilon to epsilon.
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
    """A share in [0, 1] with its interval; with a tick where its lower limit would be flagged."""
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
    """Picture ``(3, h, w)`` of ``loss``, blown up smoothly; x to the right, y upwards."""
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
