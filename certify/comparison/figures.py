"""Figure of several models: accuracies by kind of claim, and estimated radii."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify import tables
from robcert.certify.tables import DASH, decimal, pixel

from .overview import names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from .overview import AccuracyInterval, Overview

LOOKS = {
    "measured": ("tab:blue", "o"),
    "attacked": ("tab:red", "X"),
    "certified": ("tab:green", "s"),
    "estimated": ("tab:orange", "D"),
}
"""Colour and mark of each claim."""

VERDICTS = {"clear": "tab:green", "suspect": "tab:orange", "masked": "tab:red"}
STYLES = ("s-", "o--", "^:")


def save_picture(rows: Sequence[Overview], path: Path) -> None:
    """Write the figure of ``rows`` to ``path``, whose extension (.png, .svg, .pdf) is the format.

    Left: accuracies with their 95 % intervals, clean (measured), under attack (attacked) and of the
    smoothed classifier (certified). Right: distances, by bounds (estimated) and by the nearest
    adversarial example (attacked). Each name has the colour of its masking verdict. Below: the
    certified accuracy by radius of every smoothing run, if a file has one.
    """
    from matplotlib.figure import Figure  # importing it takes a second

    smoothed = any(row.certified_curves for row in rows)
    high = 2.0 + 0.36 * len(rows)
    size = (11, high + (3.6 if smoothed else 0))
    whole = Figure(figsize=size, dpi=110, layout="constrained")
    figure: Any = whole
    if smoothed:
        parts: Any = whole.subfigures(2, 1, height_ratios=(high, 3.6))
        figure, below = parts
        _certified_curves(below.subplots(), rows)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _accuracies(left, rows)
    _distances(right, rows)
    marks = [
        f"{name}  [{row.masking or DASH}]" for name, row in zip(names(rows), rows, strict=True)
    ]
    left.set_yticks(range(len(rows)), marks)
    for text, row in zip(left.get_yticklabels(), rows, strict=True):
        text.set_color(VERDICTS.get(row.masking or "", "black"))
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small")
    tables.save_picture(whole, path)


def _certified_curves(axes: Axes, rows: Sequence[Overview]) -> None:
    """Certified accuracy at the attainable radii, with bands of 95 %."""
    for model, row in zip(names(rows), rows, strict=True):
        for curve in row.certified_curves:
            points = [point for point in curve.points if point.attainable]
            radii, values = [point.radius for point in points], [point.value for point in points]
            low, high = [point.lower for point in points], [point.upper for point in points]
            name = f"{model}, {curve.name} (certified)"
            style = STYLES[len(axes.lines) // 10 % len(STYLES)]  # colours repeat after ten
            (line,) = axes.plot(radii, values, style, markersize=4, label=name)
            axes.fill_between(radii, low, high, color=line.get_color(), alpha=0.13, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_ylabel("accuracy, smoothed")
    axes.set_xlabel("certified radius (l2), pixel units of [0, 1]")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _accuracies(axes: Axes, rows: Sequence[Overview]) -> None:
    first = rows[0]
    ball = f"{pixel(first.epsilon)} {first.norm or ''}".strip()
    _intervals(axes, "measured", "clean (measured)", [row.clean for row in rows])
    _intervals(axes, "attacked", f"at {ball} (attacked)", [row.attacked for row in rows])
    proven = [row.proven for row in rows]
    _intervals(axes, "certified", f"at {ball} (certified)", proven, mark=">")
    smoothed = f"smoothed, at {decimal(first.radius)} l2 (certified)"
    _intervals(axes, "certified", smoothed, [row.certified for row in rows])
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("accuracy")


def _intervals(
    axes: Axes,
    claim: str,
    name: str,
    accuracies: Sequence[AccuracyInterval | None],
    *,
    mark: str = "",
) -> None:
    colour, usual = LOOKS[claim]
    known = [(y, accuracy) for y, accuracy in enumerate(accuracies) if accuracy is not None]
    if not known:
        return
    values = [accuracy.value for _, accuracy in known]
    reach = (
        [accuracy.value - accuracy.lower for _, accuracy in known],
        [accuracy.upper - accuracy.value for _, accuracy in known],
    )
    places = [y for y, _ in known]
    axes.errorbar(
        values, places, xerr=reach, fmt=mark or usual, color=colour, label=name, alpha=0.85
    )


def _distances(axes: Axes, rows: Sequence[Overview]) -> None:
    norm = rows[0].norm or ""
    for claim, name, mark, values in (
        ("attacked", "nearest adversarial, median (attacked)", "X", [row.distance for row in rows]),
        ("estimated", "ρ-bound, mean (estimated)", "P", [row.rho_bound for row in rows]),
        ("estimated", "L-bound, mean (estimated)", "D", [row.l_bound for row in rows]),
        ("estimated", "ω-bound, mean (estimated)", "d", [row.omega_bound for row in rows]),
    ):
        known = [(v, y) for y, v in enumerate(values) if v is not None and v < float("inf")]
        if known:
            colour = LOOKS[claim][0]
            axes.plot(*zip(*known, strict=True), mark, color=colour, label=name, alpha=0.85)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"distance {norm}, pixel units of [0, 1]")
