"""Paired differences as tables and as rows for spreadsheets."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from itertools import groupby
from typing import TYPE_CHECKING

from robcert.certify.store import plain
from robcert.certify.tables import DASH, UNLABELLED, Table, decimal

from .paired import Difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


HEADER = (
    *("quantity", "claim", "first", "second", "difference", "interval"),
    *("ahead", "p", "n"),
)


def comparison_tables(
    first: str, second: str, found: Sequence[Difference], *, labelled: bool = True
) -> Iterator[Table]:
    """A table for each analysis: both models, their difference, its interval, the exact test.

    Args:
        first: name of the model that differences start from.
        second: name of the other.
        found: at least one difference, those of one analysis one after the other.
        labelled: whether the images carry labels; else the last table says what that means.
    """
    level = f"{100 * found[0].level:g} %"
    note = (
        "Difference: second minus first, over the n images of both; ahead: on how many the first "
        "is larger (or alone right), and the second. Each interval has the level "
        f"{level} by itself, p is of an exact two-sided test; neither allows for the number of "
        "rows. Infinite distances leave medians and no interval."
    )
    if not labelled:
        note += f" {UNLABELLED}"
    last = found[-1].table
    for path, of_path in groupby(found, key=lambda difference: difference.table):
        title = f"{second} against {first}: {path.strip('/')}"
        rows = tuple(_cells(difference) for difference in of_path)
        yield Table(title, "", HEADER, rows, note if path == last else "")


def comparison_lines(found: Mapping[str, Sequence[Difference]]) -> Iterator[str]:
    """CSV: a header, then one line a difference, after the path of its second file."""
    yield _line(["results", *(field.name for field in fields(Difference))])
    for path, differences in found.items():
        for difference in differences:
            yield _line([path, *plain(asdict(difference)).values()])


def _cells(difference: Difference) -> tuple[str, ...]:
    numbers = plain(asdict(difference))
    lower, upper = numbers["lower"], numbers["upper"]
    return (
        difference.quantity,
        str(difference.kind),
        decimal(difference.a),
        decimal(difference.b),
        _signed(numbers["difference"]),
        DASH if lower is None else f"[{_signed(lower)}, {_signed(upper)}]",
        f"{difference.more_a} : {difference.more_b}",
        decimal(difference.p_value, 2),
        str(difference.n),
    )


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.3g}"


def _line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
