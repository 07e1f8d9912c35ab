"""One picture of several models: accuracies of each claim, and the estimated radii."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .wording import decimal, pixel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from .compare_overview import Overview, Share

LOOKS = {
    "measured": ("tab:blue", "o"),
    "attacked": ("tab:red", "X"),
    "certified": ("tab:green", "s"),
    "estimated": ("tab:orange", "D"),
}
"""Colour and mark of each claim."""

VERDICTS = {"clear": "tab:green", "suspect": "tab:orange", "masked": "tab:red"}


def save_picture(rows: Sequence[Overview], path: Path) -> None:
    """Write the picture of ``rows`` to ``path``; its ending (.png, .svg, .pdf) is the format.

    Left the accuracies with their 95 % intervals, clean (measured), under attack (attacked) and of
    the smoothed classifier (certified); right the distances, by bounds (estimated) and by the
    nearest adversarial image (attacked). Each name has the colour of its masking verdict.
    """
    from matplotlib.figure import Figure  # a second to import

    figure = Figure(figsize=(11, 1.6 + 0.36 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _accuracies(left, rows)
    _distances(right, rows)
    left.set_yticks(range(len(rows)), [f"{row.model}  [{row.masking or '–'}]" for row in rows])
    for text, row in zip(left.get_yticklabels(), rows, strict=True):
        text.set_color(VERDICTS.get(row.masking or "", "black"))
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize="small")
    figure.savefig(path, dpi=110)


def _accuracies(axes: Axes, rows: Sequence[Overview]) -> None:
    first = rows[0]
    ball = f"{pixel(first.epsilon)} {first.norm or ''}".strip()
    _shares(axes, "measured", "clean (measured)", [row.clean for row in rows])
    _shares(axes, "attacked", f"at {ball} (attacked)", [row.attacked for row in rows])
    smoothed = f"smoothed, at {decimal(first.radius)} l2 (certified)"
    _shares(axes, "certified", smoothed, [row.certified for row in rows])
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("accuracy")


def _shares(axes: Axes, claim: str, name: str, shares: Sequence[Share | None]) -> None:
    colour, mark = LOOKS[claim]
    known = [(y, share) for y, share in enumerate(shares) if share is not None]
    if not known:
        return
    places, found = [y for y, _ in known], [share for _, share in known]
    values = [share["value"] for share in found]
    reach = (
        [share["value"] - (share["lower"] or 0.0) for share in found],
        [(1.0 if share["upper"] is None else share["upper"]) - share["value"] for share in found],
    )
    axes.errorbar(values, places, xerr=reach, fmt=mark, color=colour, label=name, alpha=0.85)


def _distances(axes: Axes, rows: Sequence[Overview]) -> None:
    norm = rows[0].norm or ""
    for claim, name, mark, values in (
        ("attacked", "nearest found, median (attacked)", "X", [row.distance for row in rows]),
        ("estimated", "L-bound, mean (estimated)", "D", [row.l_bound for row in rows]),
        ("estimated", "ω-bound, mean (estimated)", "d", [row.omega_bound for row in rows]),
    ):
        known = [(v, y) for y, v in enumerate(values) if v is not None and v < float("inf")]
        if known:
            colour = LOOKS[claim][0]
            axes.plot(*zip(*known, strict=True), mark, color=colour, label=name, alpha=0.85)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"distance {norm}, pixel units of [0, 1]")
