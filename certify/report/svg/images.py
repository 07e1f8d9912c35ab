"""Figures of pixels: images, and a loss surface with the borders of classes."""

from __future__ import annotations

import base64
import struct
import zlib
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .axes import SMALL, Frame, axes_of, drawing

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


_COLOURS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])
"""Five colours of a scale from dark to light, evenly spaced in lightness."""


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
