"""The mark of each kind of claim, which tells curves and points apart without colour."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal

_CORNERS = {
    "certified": ((0.0, -1.1), (1.0, 0.8), (-1.0, 0.8)),
    "attacked": ((0.0, 1.1), (1.0, -0.8), (-1.0, -0.8)),
    "estimated": ((0.0, -1.2), (1.0, 0.0), (0.0, 1.2), (-1.0, 0.0)),
}
"""Corners of a mark of size 1; measured is a circle."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a legend.

    Attributes:
        name: text.
        claim: claim, which chooses the mark.
        look: style sheet class of the line; empty for the claim.
        shape: line with its mark, mark with its interval, or block.
    """

    name: str
    claim: str
    look: str = ""
    shape: Literal["line", "interval", "block"] = "line"


def mark(claim: str, place: tuple[float, float], *, size: float = 4.2, look: str = "") -> str:
    """The mark of ``claim`` with its middle at ``place``; nothing for other words."""
    x, y = place
    style = f'class="mark {look or claim}"'
    if claim == "measured":
        return f'<circle {style} cx="{x:.1f}" cy="{y:.1f}" r="{0.85 * size:.1f}"/>'
    corners = _CORNERS.get(claim)
    if corners is None:
        return ""
    path = "L".join(f"{x + size * dx:.1f} {y + size * dy:.1f}" for dx, dy in corners)
    return f'<path {style} d="M{path}Z"/>'


def legend(entries: list[Entry]) -> str:
    """A list of ``entries``, each with its line and mark or its block."""
    return f'<ul class="legend">{"".join(map(_item, entries))}</ul>'


def _item(entry: Entry) -> str:
    look = entry.look or entry.claim
    if entry.shape == "block":
        drawn = f'<rect class="block {look}" x="3" y="1" width="22" height="10"/>'
    else:
        kind = "line" if entry.shape == "line" else "whisker"
        drawn = f'<path class="{kind} {look}" d="M1 6H27"/>' + mark(entry.claim, (14, 6), look=look)
    key = f'<svg class="key" viewBox="0 0 28 12" aria-hidden="true">{drawn}</svg>'
    return f"<li>{key}<span>{escape(entry.name)}</span></li>"
