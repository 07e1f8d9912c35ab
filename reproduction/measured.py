"""Numbers and curves that an analysis of one model gave, and their JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robcert.certify.tables import Points, ShareWithLimits


@dataclass(frozen=True, slots=True)
class Number:
    """One number of one model.

    Attributes:
        value: a share in [0, 1], or a number in pixel units or units of the loss; None where there
            is none, such as a mean of infinite distances.
        lower: lower limit of its 95 % interval over the images; None without one.
        upper: upper limit.
        n: number of images.
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None
    n: int = 0

    @classmethod
    def of_share(cls, share: ShareWithLimits, n: int) -> Number:
        """An observed share with its binomial interval."""
        return cls(_finite(share.value), _finite(share.lower), _finite(share.upper), n)

    @classmethod
    def of_value(cls, value: float | None, n: int) -> Number:
        """A number without an interval."""
        return cls(None if value is None else _finite(value), n=n)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one analysis of one model gave.

    Attributes:
        numbers: by name.
        curves: points by name.
    """

    numbers: dict[str, Number]
    curves: dict[str, Points] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Measured:
        """The inverse of ``to_json``."""
        numbers = {name: Number(**one) for name, one in values["numbers"].items()}
        curves = {
            name: tuple((float(x), float(y)) for x, y in points)
            for name, points in values["curves"].items()
        }
        return cls(numbers, curves)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
