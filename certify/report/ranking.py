"""Models of a comparison by their accuracy under attack at one radius, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.comparison import ball_of, names
from robcert.certify.tables import DASH, Table, decimal, percent, share_text

from .svg import Axis, Entry, IntervalRow, Point, interval_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.comparison import AccuracyInterval, Comparison, Overview

MASKED = "masked"


@dataclass(frozen=True, slots=True)
class Ranked:
    """One model of a ranking.

    Attributes:
        place: its place, such as 1 or 2–3 where intervals overlap; a dash where it has none.
        name: its name.
        row: its main numbers.
    """

    place: str
    name: str
    row: Overview


def ranked(found: Comparison) -> tuple[Ranked, ...]:
    """Models by accuracy under attack at the ball of the first, the highest first.

    Models with another ball, without attacks, or with masked gradients, whose accuracy under attack
    is not meaningful, come last and have no place.
    """
    together = list(zip(names(found.rows), found.rows, strict=True))
    ball = ball_of(next((row for row in found.rows if row.epsilon is not None), found.rows[0]))
    able = [(name, row) for name, row in together if _comparable(row, ball)]
    able.sort(key=lambda one: -_value(one[1]))
    placed = tuple(Ranked(_place(row, [r for _, r in able]), name, row) for name, row in able)
    others = [one for one in together if one not in able]
    return placed + tuple(Ranked(DASH, name, row) for name, row in others)


def _comparable(row: Overview, ball: str) -> bool:
    return row.attacked is not None and ball_of(row) == ball and row.masking != MASKED


def _value(row: Overview) -> float:
    return 0.0 if row.attacked is None else row.attacked.value


def _place(row: Overview, able: Sequence[Overview]) -> str:
    """The places that the interval of ``row`` leaves open among ``able``."""
    limits = [one.attacked for one in able if one is not row and one.attacked is not None]
    own = row.attacked
    if own is None:
        return DASH
    above = sum(other.lower > own.upper for other in limits)
    below = sum(other.upper < own.lower for other in limits)
    first, last = above + 1, len(able) - below
    return str(first) if first == last else f"{first}–{last}"


def headline(models: Sequence[Ranked]) -> str:
    """The result in one sentence."""
    placed = [model for model in models if model.place != DASH]
    if not placed:
        return "No ranking: the files have no accuracy under attack at one radius."
    best = placed[0]
    share = "" if best.row.attacked is None else share_text(best.row.attacked)
    ball = f"ε = {ball_of(best.row)}"
    checked = "" if best.row.masking else ", not checked for masked gradients"
    said = f"{best.name} keeps the highest accuracy under attack at {ball}, {share}{checked}"
    if len(placed) == 1:
        return f"{said}; no other model can be ranked against it."
    if best.place == "1":
        return f"{said}, above the interval of every other ranked model."
    return f"{said}; intervals overlap, so the paired differences decide."


def ranking_figure(models: Sequence[Ranked]) -> str:
    """Accuracies of all models, each at a height of its own, so that overlapping intervals show."""
    rows = tuple(IntervalRow(_title(model), tuple(_points(model.row))) for model in models)
    axis = Axis("accuracy, with 95 % interval")
    drawn = {(point.claim, point.look) for row in rows for point in row.points}
    named = tuple(entry for entry in _legend(models) if (entry.claim, entry.look) in drawn)
    return interval_rows(rows, axis, title="accuracies of the models", named=named)


def _legend(models: Sequence[Ranked]) -> tuple[Entry, ...]:
    attacked, smoothed = _radii(models)
    return (
        Entry("clean (measured)", "measured"),
        Entry(f"under attack{_at(attacked)} (attacked)", "attacked"),
        Entry(f"of the model itself{_at(attacked)} (certified)", "certified"),
        Entry(f"when smoothed{_at(smoothed)} (certified)", "certified", "smoothed"),
    )


def _radii(models: Sequence[Ranked]) -> tuple[list[str], list[str]]:
    """Radii of the accuracies of the models themselves, and of the smoothed ones; each once."""
    attacked = [ball_of(one.row) for one in models if one.row.epsilon is not None]
    smoothed = [_smoothed(one.row) for one in models if one.row.radius is not None]
    return list(dict.fromkeys(attacked)), list(dict.fromkeys(smoothed))


def _smoothed(row: Overview) -> str:
    """Radius of the accuracy of the smoothed classifier."""
    return f"{decimal(row.radius)} l2"


def _at(radii: Sequence[str]) -> str:
    """What a heading says of its radius: the one that there is, else that cells name theirs."""
    if len(radii) > 1:
        return " at the radius in the table"
    return f" at {radii[0]}" if radii else ""


def _title(model: Ranked) -> str:
    place = f"{model.place}. " if model.place != DASH else ""
    return f"{place}{model.name} (masking: {model.row.masking or 'not checked'})"


def _points(row: Overview) -> Iterator[Point]:
    for claim, look, name, share in (
        ("measured", "", "clean", row.clean),
        ("attacked", "", f"under attack at {ball_of(row)}", row.attacked),
        ("certified", "", f"the model itself at {ball_of(row)}", row.proven),
        ("certified", "smoothed", f"when smoothed, at {_smoothed(row)}", row.certified),
    ):
        if share is not None:
            text = f"{name}: {share_text(share)}"
            yield Point(claim, share.value, share.lower, share.upper, text, look)


def ranking_table(models: Sequence[Ranked]) -> Table:
    """One row per model, with intervals; headings say the kind of claim and, if shared, radius."""
    attacked, smoothed = _radii(models)
    one_ball, one_radius = len(attacked) == 1, len(smoothed) == 1
    header = (
        *("place", "model", "masking check", "clean (measured)"),
        f"under attack{_at(attacked) if one_ball else ''} (attacked)",
        f"the model itself{_at(attacked) if one_ball else ''} (certified)",
        f"smoothed{_at(smoothed) if one_radius else ''} (certified)",
    )
    rows = tuple(
        (
            model.place,
            model.name,
            model.row.masking or DASH,
            _share(model.row.clean),
            _share(model.row.attacked, "" if one_ball else ball_of(model.row)),
            _share(model.row.proven, "" if one_ball else ball_of(model.row)),
            _share(model.row.certified, "" if one_radius else _smoothed(model.row)),
        )
        for model in models
    )
    note = (
        "Place: by accuracy under attack; several places where 95 % intervals overlap, none where "
        "gradients are masked or the radius differs."
    )
    return Table("ranking", "", header, rows, note)


def _share(share: AccuracyInterval | None, radius: str = "") -> str:
    """A share with its interval, and its radius where the heading does not say it."""
    if share is None:
        return DASH
    text = share_text(share) if share.lower == share.lower else percent(share.value)
    return f"{text} at {radius}" if radius else text
