"""A claim of a paper as an experiment: what is measured, and which number decides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .laboratory import Laboratory


@dataclass(frozen=True, slots=True)
class Finding:
    """What one seed gave.

    Attributes:
        gap: the number that decides, positive where the claim holds.
        numbers: what it was computed from, by name.
    """

    gap: float
    numbers: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim.

    Attributes:
        name: number in the list, such as C1.
        statement: what the paper says.
        source: paper and place.
        gap: how the deciding number is computed, in words.
        caveat: what the experiment cannot show, and what would change the verdict.
        measure: the experiment with the networks of one seed.
    """

    name: str
    statement: str
    source: str
    gap: str
    caveat: str
    measure: Callable[[Laboratory], Finding]
