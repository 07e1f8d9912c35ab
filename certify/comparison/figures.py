"""Figure of several models: accuracies by kind of claim, and estimated radii."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify import tables
from robcert.certify.tables import DASH, decimal

from .overview_table import ball_of, names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .overview import AccuracyInterval, Overview

LOOKS = {
    "measured": ("tab:blue", "o"),
    "attacked": ("tab:red", "X"),
    "certified": ("tab:green", "s"),
    "estimated": ("tab:orange", "D"),
}
"""Colour and mark of each claim."""

VERDICTS = {"clear": "tab:green", "suspect": "tab:orange", "masked": "tab:red"}
STYLES = (("s", "-"), ("o", "--"), ("^", ":"))
"""Mark and line of a certified curve."""

NEAREST = "nearest adversarial, median, misclassified at 0"
"""Name of the attacked distances."""

SPREAD = 0.6
"""Part of the height of a row over which its marks are spread, so that none covers another."""

MARKS = {"attacked": "Xv^<P", "certified": ">d*p8"}
"""Marks of accuracies within a ball, one for each ball that the files have."""


def save_picture(rows: Sequence[Overview], path: Path) -> None:
    """Write the figure of ``rows`` to ``path``, whose extension (.png, .svg, .pdf) is the format.

    Left: accuracies with their 95 % intervals, clean (measured), under attack (attacked) and of the
    smoothed classifier (certified). Right: distances, by bounds (estimated) and by the nearest
    adversarial example (attacked), one panel for each norm that the files have. Each name has the
    colour of its masking verdict. Below: the certified accuracy by radius of every smoothing run,
    if a file has one.
    """
    tables.save_picture(figure_of(rows), path)


def figure_of(rows: Sequence[Overview]) -> Figure:
    """The figure of :func:`save_picture`."""
    from matplotlib.figure import Figure as NewFigure  # importing it takes a second

    smoothed = any(row.certified_curves for row in rows)
    norms = list(dict.fromkeys(row.norm for row in rows if row.norm)) or [""]
    high, wide = 2.0 + 0.36 * len(rows), 7 + 4 * len(norms)
    whole = NewFigure(
        figsize=(wide, high + (3.6 if smoothed else 0)), dpi=110, layout="constrained"
    )
    figure: Any = whole
    if smoothed:
        parts: Any = whole.subfigures(2, 1, height_ratios=(high, 3.6))
        figure, below = parts
        _certified_curves(below.subplots(), rows)
    left, *right = figure.subplots(
        1, 1 + len(norms), sharey=True, width_ratios=(3, *(2 for _ in norms))
    )
    _accuracies(left, rows)
    for axes, norm in zip(right, norms, strict=True):
        _distances(axes, rows, norm)
    marks = [
        f"{name}  [{row.masking or DASH}]" for name, row in zip(names(rows), rows, strict=True)
    ]
    left.set_yticks(range(len(rows)), marks)
    for text, row in zip(left.get_yticklabels(), rows, strict=True):
        text.set_color(VERDICTS.get(row.masking or "", "black"))
    left.invert_yaxis()
    for axes in (left, *right):
        axes.grid(axis="x", alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small")
    return whole


def _certified_curves(axes: Axes, rows: Sequence[Overview]) -> None:
    """Certified accuracy at the attainable radii, with bands of 95 %.

    Up to a radius at least the accuracy at it is certified, so the curve is made of steps.
    """
    for model, row in zip(names(rows), rows, strict=True):
        for curve in row.certified_curves:
            points = [point for point in curve.points if point.attainable]
            radii, values = [point.radius for point in points], [point.value for point in points]
            low, high = [point.lower for point in points], [point.upper for point in points]
            name = f"{model}, {curve.name} (certified)"
            mark, dashes = STYLES[len(axes.lines) // 10 % len(STYLES)]  # colours repeat after ten
            look: Any = {"marker": mark, "linestyle": dashes, "markersize": 4, "label": name}
            (line,) = axes.step(radii, values, where="pre", **look)
            band: Any = {"color": line.get_color(), "alpha": 0.13, "linewidth": 0, "step": "pre"}
            axes.fill_between(radii, low, high, **band)
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_ylabel("accuracy, smoothed")
    axes.set_xlabel("certified radius (l2), pixel units of [0, 1]")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Accuracies of one kind, one of each model or None, with the name and mark of all."""

    claim: str
    name: str
    accuracies: Sequence[AccuracyInterval | None]
    mark: str = ""


def _accuracies(axes: Axes, rows: Sequence[Overview]) -> None:
    """Clean, attacked and certified accuracies, each a little below the last, so that all show."""
    kinds = list(_kinds(rows))
    for number, kind in enumerate(kinds):
        _intervals(axes, kind, SPREAD * (number - (len(kinds) - 1) / 2) / max(len(kinds), 1))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("accuracy")


def _kinds(rows: Sequence[Overview]) -> Iterator[_Kind]:
    """Every kind of accuracy; those of one ball have a mark and a name."""
    yield _Kind("measured", "clean (measured)", [row.clean for row in rows])
    balls = dict.fromkeys(ball_of(row) for row in rows if row.epsilon is not None)
    for place, ball in enumerate(balls):
        own = [ball_of(row) == ball for row in rows]
        for claim in ("attacked", "certified"):
            shares = [row.attacked if claim == "attacked" else row.proven for row in rows]
            shown = [share if of_ball else None for share, of_ball in zip(shares, own, strict=True)]
            mark = MARKS[claim][place % len(MARKS[claim])]
            yield _Kind(claim, f"at {ball} ({claim})", shown, mark)
    for radius in dict.fromkeys(row.radius for row in rows if row.radius is not None):
        certified = [row.certified if row.radius == radius else None for row in rows]
        name = f"smoothed, at {decimal(radius)} l2 (certified)"
        yield _Kind("certified", name, certified)


def _intervals(axes: Axes, kind: _Kind, below: float) -> None:
    """Draw ``kind`` in the row of each model, ``below`` its middle."""
    colour, usual = LOOKS[kind.claim]
    known = [(y, accuracy) for y, accuracy in enumerate(kind.accuracies) if accuracy is not None]
    if not known:
        return
    values = [accuracy.value for _, accuracy in known]
    reach = (
        [accuracy.value - accuracy.lower for _, accuracy in known],
        [accuracy.upper - accuracy.value for _, accuracy in known],
    )
    places = [y + below for y, _ in known]
    look: Any = {"fmt": kind.mark or usual, "color": colour, "label": kind.name, "alpha": 0.85}
    axes.errorbar(values, places, xerr=reach, **look)


def _distances(axes: Axes, rows: Sequence[Overview], norm: str) -> None:
    """Distances and estimated radii of the models whose numbers are in ``norm``."""
    of_norm = [(place, row) for place, row in enumerate(rows) if (row.norm or "") == norm]
    kinds = []
    for claim, name, mark, values in (
        ("attacked", NEAREST, "X", [row.distance for _, row in of_norm]),
        ("estimated", "ρ-bound, mean", "P", [row.rho_bound for _, row in of_norm]),
        ("estimated", "L-bound, mean", "D", [row.l_bound for _, row in of_norm]),
        ("estimated", "ω-bound, mean", "d", [row.omega_bound for _, row in of_norm]),
    ):
        known = [
            (value, place)
            for value, (place, _) in zip(values, of_norm, strict=True)
            if value is not None and value < float("inf")
        ]
        if known:
            kinds.append((claim, name, mark, known))
    for number, (claim, name, mark, known) in enumerate(kinds):
        below = SPREAD * (number - (len(kinds) - 1) / 2) / len(kinds)
        look: Any = {"color": LOOKS[claim][0], "label": f"{name} ({claim})", "alpha": 0.85}
        axes.plot([x for x, _ in known], [y + below for _, y in known], mark, **look)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"distance {norm}, pixel units of [0, 1]")
