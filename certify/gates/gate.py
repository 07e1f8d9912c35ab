"""A gate, and the decision on it: what a run is compared with, and how that ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from robcert.certify.store import plain

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.core import Kind

Value = float | str
"""A number, or the verdict of the masking check."""


class Side(StrEnum):
    """Which end of a number's interval a gate compares."""

    LOWER = "lower"
    POINT = "point"
    UPPER = "upper"


class Relation(StrEnum):
    """How a number must relate to the threshold."""

    AT_LEAST = ">="
    ABOVE = ">"
    AT_MOST = "<="
    BELOW = "<"
    EQUAL = "=="

    @property
    def prudent_side(self) -> Side:
        """The end of the interval that makes the gate harder to pass."""
        if self is Relation.EQUAL:
            return Side.POINT
        return Side.LOWER if self in (Relation.AT_LEAST, Relation.ABOVE) else Side.UPPER

    def holds(self, value: float, threshold: float) -> bool:
        """Whether ``value`` relates to ``threshold`` in this way; False for NaN."""
        return {
            Relation.AT_LEAST: value >= threshold,
            Relation.ABOVE: value > threshold,
            Relation.AT_MOST: value <= threshold,
            Relation.BELOW: value < threshold,
            Relation.EQUAL: value == threshold,
        }[self]


class Outcome(StrEnum):
    """How a gate ended; only the first passes."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"  # a spent time budget left work that may change the number
    NOT_AVAILABLE = "not available"


@dataclass(frozen=True, slots=True)
class Gate:
    """One number or verdict with its threshold.

    Attributes:
        text: the gate in its canonical spelling.
        name: name of the number, without its radius.
        radius: radius in pixel units; None for that of the headline, and for numbers without one.
        relation: how the number must relate to the threshold.
        threshold: share, distance in pixel units, count, or verdict.
        side: the end of the interval that is compared.
    """

    text: str
    name: str
    radius: float | None
    relation: Relation
    threshold: Value
    side: Side


@dataclass(frozen=True, slots=True)
class RegressionGate:
    """No number of the run may be worse than in the results file of another model.

    Attributes:
        text: the gate in its canonical spelling.
        baseline: that results file.
        level: largest probability of a failure although nothing is worse.
    """

    text: str
    baseline: Path
    level: float


AnyGate = Gate | RegressionGate


@dataclass(frozen=True, slots=True)
class Decision:
    """A gate with what was found.

    Attributes:
        gate: the gate in its canonical spelling.
        name: name of the number; ``masking``, ``violations`` or ``regression``.
        kind: kind of claim of the number; None for a verdict.
        radius: its radius, pixel units; None without one.
        value: the number; None if it is not available.
        lower: lower end of its interval; None without one.
        upper: upper end.
        level: level of the interval; of a regression, of its test.
        side: the end that was compared; None for a verdict and a regression.
        relation: how the number must relate to the threshold.
        threshold: the threshold.
        outcome: how it ended.
        reason: why it did not pass, or what the number means, in one sentence without full stop.
    """

    gate: str
    name: str
    kind: Kind | None
    radius: float | None
    value: Value | None
    lower: float | None
    upper: float | None
    level: float | None
    side: Side | None
    relation: Relation
    threshold: Value
    outcome: Outcome
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the gate passed."""
        return self.outcome is Outcome.PASSED

    def to_json(self) -> dict[str, Any]:
        """The decision as plain JSON, ``passed`` included."""
        return {**plain(asdict(self)), "passed": self.passed}
