"""Numbers as text: decimals, fractions, percentages."""

from __future__ import annotations

import re

from .errors import InvalidParameterError

_NUMBER = re.compile(
    r"[+-]?(?:\d+\s*/\s*\d+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?)", re.ASCII | re.IGNORECASE
)
"""An exponent has three digits at most: an exact power of ten with nine would take hours."""


def number(text: str, *, unit: int = 1) -> float:
    """Finite number written as a decimal or a fraction, divided by ``unit`` and rounded once.

    Blanks may stand around it and around the bar of a fraction, not between digits.

    Raises:
        InvalidParameterError: it is neither.

    >>> number("8/255") == 8 / 255, number("0.5"), number("32.9", unit=100) == 0.329
    (True, 0.5, True)
    """
    from fractions import Fraction  # takes longer to import than the rest of this module

    found = _NUMBER.fullmatch(text.strip())
    try:
        value = None if found is None else float(Fraction("".join(found[0].split())) / unit)
    except (ValueError, ZeroDivisionError, OverflowError):
        value = None
    if value is None:
        message = f"{text[:60]!r} is not a number; write a decimal (0.03) or a fraction (8/255)"
        raise InvalidParameterError(message)
    return value


def share(text: str) -> float:
    """Share written as a number or, with a percent sign, as a percentage.

    Raises:
        InvalidParameterError: it is neither.

    >>> share("0.4"), share("40%"), share("62.5 %")
    (0.4, 0.4, 0.625)
    """
    percentage = text.strip().removesuffix("%")
    return number(text) if percentage == text.strip() else number(percentage, unit=100)
