"""Every analysis, one row each: what its table holds and how it is summed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from robcert.certify import attacks, landscape, local_linearity, masking, radius_bounds, smoothing
from robcert.certify.attacks import ATTACK, CORRUPTION, TRANSFER
from robcert.certify.landscape import SURFACE, TAYLOR
from robcert.certify.local_linearity import LINEARITY
from robcert.certify.masking import MASKING
from robcert.certify.radius_bounds import BOUNDS, BOUNDS_SAMPLE
from robcert.certify.smoothing import SMOOTHING, SMOOTHING_ATTACK, SMOOTHING_PREDICTION

from . import clean
from .schema import AUDIT, CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.store import ResultStore, Schema


class Summary(Protocol):
    """The numbers of one table of a results file."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""


R = TypeVar("R", bound=Summary, covariant=True)


@dataclass(frozen=True, slots=True)
class Analysis(Generic[R]):
    """One analysis.

    Attributes:
        name: as in the summary of an audit.
        schema: columns of its table.
        summarise: the numbers of the table at a path of a results file, from the file alone.
    """

    name: str
    schema: Schema
    summarise: Callable[[ResultStore, str], R]


ANALYSES: tuple[Analysis[Summary], ...] = (
    Analysis("clean", CLEAN, clean.summarise),
    Analysis("linearity", LINEARITY, local_linearity.summarise),
    Analysis("bounds", BOUNDS, radius_bounds.summarise),
    Analysis("smoothing", SMOOTHING, smoothing.summarise),
    Analysis("smoothing_prediction", SMOOTHING_PREDICTION, smoothing.summarise_prediction),
    Analysis("smoothing_attack", SMOOTHING_ATTACK, smoothing.summarise_attack),
    Analysis("attack", ATTACK, attacks.summarise),
    Analysis("transfer", TRANSFER, attacks.summarise_transfer),
    Analysis("corruption", CORRUPTION, attacks.summarise_corruption),
    Analysis("masking", MASKING, masking.summarise),
    Analysis("surface", SURFACE, landscape.summarise_surface),
    Analysis("taylor", TAYLOR, landscape.summarise_taylor),
)
"""In the order in which a page lists them."""

SCHEMAS: tuple[Schema, ...] = (
    CLEAN,
    LINEARITY,
    BOUNDS,
    BOUNDS_SAMPLE,
    SURFACE,
    TAYLOR,
    SMOOTHING,
    SMOOTHING_PREDICTION,
    SMOOTHING_ATTACK,
    ATTACK,
    TRANSFER,
    CORRUPTION,
    MASKING,
    AUDIT,
)
"""Every group that a results file can hold, in the order of the schema page."""
