"""Paired differences of a comparison: a figure of the accuracies, and all of them as tables."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.comparison import difference_note, names
from robcert.certify.tables import DASH, Table, bound_name, decimal

from .svg import Axis, Entry, IntervalRow, Point, interval_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.comparison import Comparison, Difference

ACCURACY = "accuracy"
"""Word in the names of quantities that are shares, which one axis can hold."""


@dataclass(frozen=True, slots=True)
class Against:
    """One model against the first.

    Attributes:
        title: both names.
        figure: differences of accuracies; empty without any.
        tables: all differences, one table per analysis.
    """

    title: str
    figure: str
    tables: tuple[Table, ...]


def against_first(found: Comparison) -> tuple[Against, ...]:
    """Every model against the first, in the order given."""
    first, *others = names(found.rows)
    return tuple(
        Against(
            f"{name} minus {first}",
            _figure(model.differences, f"{name} minus {first}"),
            tuple(_tables(model.differences)),
        )
        for name, model in zip(others, found.others, strict=True)
    )


def note(found: Comparison) -> str:
    """Explanation of the columns."""
    return difference_note(found.settings.level, found.family)


def _figure(differences: Sequence[Difference], title: str) -> str:
    shown = [one for one in differences if ACCURACY in one.quantity and np.isfinite(one.difference)]
    if not shown:
        return ""
    ends = [end for one in shown for end in (one.lower, one.upper, one.difference)]
    reach = max(abs(end) for end in ends if np.isfinite(end)) or 0.1
    axis = Axis("difference of accuracies, with interval", -1.05 * reach, 1.05 * reach)
    rows = tuple(IntervalRow(one.quantity, (_point(one),)) for one in shown)
    named = tuple(Entry(claim, claim) for claim in dict.fromkeys(str(one.kind) for one in shown))
    return interval_rows(rows, axis, title=title, named=named)


def _point(one: Difference) -> Point:
    text = f"{100 * one.difference:+.1f} points, p = {decimal(one.p_value, 2)}"
    return Point(str(one.kind), one.difference, one.lower, one.upper, text)


def _tables(differences: Sequence[Difference]) -> Iterator[Table]:
    header = ("quantity", "claim", "first → second", "difference", "ahead", "p", "n")
    for path, of_path in groupby(differences, key=lambda one: one.table):
        rows = tuple(map(_cells, of_path))
        yield Table(path.strip("/"), "", header, rows)


def _cells(one: Difference) -> tuple[str, ...]:
    adjusted = "" if one.p_adjusted is None else f", adjusted {decimal(one.p_adjusted, 2)}"
    return (
        bound_name(one.quantity),
        str(one.kind),
        f"{decimal(one.a)} → {decimal(one.b)}",
        f"{_signed(one.difference)} {_limits(one)}",
        f"{one.more_a} : {one.more_b}",
        f"{decimal(one.p_value, 2)}{adjusted}",
        str(one.n),
    )


def _limits(one: Difference) -> str:
    if not np.isfinite((one.lower, one.upper)).all():
        return ""
    return f"[{_signed(one.lower)}, {_signed(one.upper)}]"


def _signed(value: float) -> str:
    return f"{value:+.3g}" if np.isfinite(value) else DASH
