"""Figure of counts by row and column, shaded by their share of the row."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from .axes import drawing
from .rows import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH, HEAD, CELL = 460.0, 92.0, 30.0
LONGEST = 14


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Counts ``(rows, columns)`` with the names of both; the diagonal is what is right."""

    counts: NDArray[np.int64]
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def matrix(content: Counts, *, title: str) -> str:
    """The matrix: kept images on the diagonal, others in the colour of attacks."""
    height = HEAD + CELL * len(content.rows) + 6
    left = 14 + 7.0 * max(min(len(name), LONGEST) for name in content.rows)
    wide = min((WIDTH - left - 40) / len(content.columns), 44.0)
    parts = []
    for number, name in enumerate(content.columns):
        x, y = left + wide * (number + 0.5) + 4, HEAD - 8
        turned = f'transform="translate({x:.1f} {y:.1f}) rotate(-52)"'
        parts.append(f'<text class="tick" {turned}>{_text(name)}</text>')
    for row, name in enumerate(content.rows):
        y = HEAD + CELL * row
        place = f'x="{left - 8:.1f}" y="{y + CELL / 2 + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="tick" {place}>{_text(name)}</text>')
        total = max(int(content.counts[row].sum()), 1)
        for column, count in enumerate(content.counts[row].tolist()):
            kind = "certain" if content.columns[column] == name else "attacked"
            box = (left + wide * column, y, wide)
            parts.append(_cell(box, int(count), count / total, kind))
    return drawing(title, (WIDTH, height), parts)


def _text(name: str) -> str:
    return f"<title>{escape(name)}</title>{escape(shown(name, LONGEST))}"


def _cell(box: tuple[float, float, float], count: int, share: float, kind: str) -> str:
    x, y, wide = box
    rect = f'x="{x + 1:.1f}" y="{y + 1:.1f}" width="{wide - 2:.1f}" height="{CELL - 2:.1f}"'
    opacity = 0.06 if not count else 0.18 + 0.5 * share
    drawn = f'<rect class="cell {kind}" {rect} rx="2" fill-opacity="{opacity:.2f}"/>'
    if not count:
        return drawn
    place = f'x="{x + wide / 2:.1f}" y="{y + CELL / 2 + 4:.1f}" text-anchor="middle"'
    return f'{drawn}<text class="count" {place}>{count}</text>'
