"""Numbers as text: decimals, fractions, percentages."""

from __future__ import annotations

import math

from .errors import InvalidParameterError


def number(text: str, *, unit: int = 1) -> float:
    """Finite number written as a decimal or a fraction, divided by ``unit`` and rounded once.

    Raises:
        InvalidParameterError: it is neither.

    >>> number("8/255") == 8 / 255, number("0.5"), number("32.9", unit=100) == 0.329
    (True, 0.5, True)
    """
    from fractions import Fraction  # takes longer to import than the rest of this module

    try:
        value = float(Fraction(text.replace(" ", "")) / unit)
    except (ValueError, ZeroDivisionError, OverflowError):
        message = f"{text!r} is not a number; write a decimal (0.03) or a fraction (8/255)"
        raise InvalidParameterError(message) from None
    if not math.isfinite(value):
        message = f"{text!r} is not finite"
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
