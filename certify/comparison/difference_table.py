"""Paired differences as tables."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.stats import Correction
from robcert.certify.tables import DASH, Table, decimal

from .paired import NOT_SEARCHED, OTHER_EFFORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .difference import Difference, Family

NOT_SEARCHED_NOTE = (
    "By distance: no attack was held to this radius; the accuracy follows from the smallest "
    "distances found, and can be above that of the same attacks held to the radius."
)

OTHER_EFFORT_NOTE = (
    "Other effort: the two tables have different budgets, methods or seeds, and more effort "
    "certifies more; the difference is not one of the models alone."
)


def difference_tables(
    first: str, second: str, found: Sequence[Difference], correction: Correction
) -> Iterator[Table]:
    """One table for each analysis: both models, the difference, its interval, the exact test.

    Args:
        first: name of the model that is subtracted.
        second: name of the other.
        found: differences, ordered by table.
        correction: correction behind ``p_adjusted``; without one its column is omitted.
    """
    tests = ("p",) if correction is Correction.NONE else ("p", "adjusted p")
    values = ("quantity", "claim", "first", "second", "difference", "interval", "ahead")
    for path, of_path in groupby(found, key=lambda difference: difference.table):
        title, rows = f"{second} against {first}: {path.strip('/')}", list(of_path)
        notes = {NOT_SEARCHED: NOT_SEARCHED_NOTE, OTHER_EFFORT: OTHER_EFFORT_NOTE}
        met = {end for end in notes for one in rows if one.quantity.endswith(end)}
        note = " ".join(text for end, text in notes.items() if end in met)
        yield Table(title, "", (*values, *tests, "n"), tuple(map(_cells, rows)), note)


def difference_note(level: float, family: Family) -> str:
    """Explanation of the columns of ``difference_tables``."""
    return (
        "Difference: second minus first, over the n images in both files. Ahead: the number "
        "of images on which the first number is larger (for accuracies: only the first model is "
        f"correct), then the second. Interval: level {100 * level:g} %, pointwise (for one row "
        "alone). p: exact two-sided test, McNemar's for accuracies, the sign test for other "
        "numbers. Distances and certified radii of misclassified images are 0. Where one is "
        "infinite, medians are compared and there is no interval. "
        f"{family.statement}"
    )


def _cells(difference: Difference) -> tuple[str, ...]:
    lower, upper = difference.lower, difference.upper
    adjusted = () if difference.p_adjusted is None else (decimal(difference.p_adjusted, 2),)
    return (
        difference.quantity,
        str(difference.kind),
        decimal(difference.a),
        decimal(difference.b),
        _signed(difference.difference),
        f"[{_signed(lower)}, {_signed(upper)}]" if np.isfinite((lower, upper)).all() else DASH,
        f"{difference.more_a} : {difference.more_b}",
        decimal(difference.p_value, 2),
        *adjusted,
        str(difference.n),
    )


def _signed(value: float) -> str:
    return f"{value:+.3g}" if np.isfinite(value) else DASH
