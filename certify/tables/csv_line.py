"""Lines of CSV that a spreadsheet reads as text and numbers, not as formulas."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMULA = re.compile(r"(^|;)(?=[\s\"]*[=+\-@＝＋－＠])")
"""Where a formula begins; some spreadsheets take the wide forms, and a semicolon as the comma."""


def csv_line(values: Sequence[object]) -> str:
    r"""``values`` as one line of CSV; numbers as they are.

    A text is one line of visible text. One that would begin a formula in a spreadsheet, as the
    name of a foreign file may, gets an apostrophe before it.

    >>> csv_line(["=1+1.h5", "a,b", "a;=2", -0.5])
    '\'=1+1.h5,"a,b",a;\'=2,-0.5'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _FORMULA.sub(r"\1'", visible_line(value))
