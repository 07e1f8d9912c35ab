"""The numbers that gates compare: kind of claim, unit, and where each is found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from robcert.certify.auditing import attacked_accuracy, certified_accuracy
from robcert.certify.core import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.auditing import Findings
    from robcert.certify.local_linearity import LinearitySummary

LEVEL = 0.95
"""Level of the intervals of shares."""


class Unit(Enum):
    """What a number counts in."""

    SHARE = "share"
    DISTANCE = "distance"
    LOSS = "loss"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run found.

    Attributes:
        found: its summaries.
        linearity: summary of γ; None if it was not computed.
        reasons: why a part of an audit is not available, by its name.
    """

    found: Findings
    linearity: LinearitySummary | None = None
    reasons: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number that was found.

    Attributes:
        value: the number; NaN if nothing counted.
        lower: lower end of its 95 % interval; None without one.
        upper: upper end.
        radius: radius of the number, pixel units; None without one.
        at_least: whether it is only known to be larger than ``value``.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    radius: float | None = None
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A number that gates can name.

    Attributes:
        name: its name in a gate.
        kind: kind of claim.
        unit: what it counts in.
        doc: what it is, for the documentation and for messages.
        parts: parts of an audit that it depends on; one that a time budget cut off leaves the
            number undecided.
        interval: whether it has an interval.
        measure: function of the evidence and of the radius, None for that of the headline; None if
            the number was not computed.
    """

    name: str
    kind: Kind
    unit: Unit
    doc: str
    parts: tuple[str, ...]
    interval: bool
    measure: Callable[[Evidence, float | None], Measurement | None]

    def shown(self, value: float) -> str:
        """``value`` in words, a share as a percentage."""
        return f"{100 * value:.4g} %" if self.unit is Unit.SHARE else f"{value:.4g}"


def _clean(evidence: Evidence, radius: float | None) -> Measurement | None:
    found = evidence.found
    if found.clean is not None and found.clean.clean_accuracy is not None:
        accuracy = found.clean.clean_accuracy
    elif found.attack is not None:
        accuracy = found.attack.clean_accuracy
    else:
        return None
    return Measurement(accuracy.value, accuracy.lower, accuracy.upper)


def _robust(evidence: Evidence, radius: float | None) -> Measurement | None:
    entry = attacked_accuracy(evidence.found.attack, evidence.found.masking, radius)
    if entry is None:
        return None
    return Measurement(entry.value, entry.lower, entry.upper, entry.epsilon)


def _median(evidence: Evidence, radius: float | None) -> Measurement | None:
    """The median distance; infinite if the attacks searched without a limit and found none."""
    attack = evidence.found.attack
    if attack is None or not attack.n:
        return None
    if attack.median_distance is not None:
        return Measurement(attack.median_distance)
    if not attack.radii:
        return Measurement(float("inf"))
    return Measurement(max(attack.radii), at_least=True)


def _verified(evidence: Evidence, radius: float | None) -> Measurement | None:
    proofs = evidence.found.verification
    if proofs is None or not proofs.n:
        return None
    bracket = proofs.headline if radius is None else proofs.at(radius)
    if bracket is None:
        return None
    known = [one for one in proofs.certified_accuracy if one.epsilon == bracket.epsilon]
    lower, upper = (known[0].lower, known[0].upper) if known else (None, None)
    return Measurement(bracket.certified, lower, upper, bracket.epsilon)


def _verified_radius(evidence: Evidence, radius: float | None) -> Measurement | None:
    proofs = evidence.found.verification
    return None if proofs is None or not proofs.n else Measurement(proofs.radius.mean)


def _certified(evidence: Evidence, radius: float | None) -> Measurement | None:
    entry = certified_accuracy(evidence.found.smoothing, radius)
    if entry is None:
        return None
    return Measurement(entry.value, entry.lower, entry.upper, entry.radius)


def _certified_radius(evidence: Evidence, radius: float | None) -> Measurement | None:
    smoothing = evidence.found.smoothing
    return None if smoothing is None else Measurement(smoothing.average_certified_radius)


def _gamma(evidence: Evidence, radius: float | None) -> Measurement | None:
    return None if evidence.linearity is None else Measurement(evidence.linearity.gamma.mean)


def _violations(evidence: Evidence, radius: float | None) -> Measurement | None:
    ledger = evidence.found.ledger
    return Measurement(float(ledger.count)) if ledger.compared else None


def _mean_radius(column: str) -> Callable[[Evidence, float | None], Measurement | None]:
    """Function that finds the mean of the estimated radii in ``column``."""

    def measure(evidence: Evidence, radius: float | None) -> Measurement | None:
        bounds = evidence.found.bounds
        if bounds is None or column not in bounds.radius:
            return None
        return Measurement(bounds.radius[column].mean)

    return measure


CLEAN, ROBUST, MEDIAN = "clean_accuracy", "robust_accuracy", "median_distance"
VERIFIED, VERIFIED_RADIUS = "verified_accuracy", "mean_verified_radius"
CERTIFIED, CERTIFIED_RADIUS = "certified_accuracy", "mean_certified_radius"
GAMMA, VIOLATIONS = "estimated_gamma", "violations"
MASKING = "masking"
"""The verdict of the masking check; not a number, but gates name it in the same way."""

ESTIMATED = {f"estimated_{column}": column for column in ("rho_bound", "l_bound", "omega_bound")}
"""Column of the estimated radii by the name of their mean."""

_ALL_RADII = ("attack", "bounds", "linearity", "verify", "smoothing", "masking")

NUMBERS = {
    number.name: number
    for number in (
        Number(
            CLEAN,
            Kind.MEASURED,
            Unit.SHARE,
            "share of labelled images that are classified correctly",
            ("clean",),
            True,
            _clean,
        ),
        Number(
            ROBUST,
            Kind.ATTACKED,
            Unit.SHARE,
            "share that is still classified correctly under attack, masking check included; true "
            "robust accuracy can only be lower",
            ("attack", "masking"),  # either may lower the number
            True,
            _robust,
        ),
        Number(
            MEDIAN,
            Kind.ATTACKED,
            Unit.DISTANCE,
            "median distance of the nearest adversarial images, misclassified images at 0; the "
            "true median can only be smaller",
            ("attack",),
            False,
            _median,
        ),
        Number(
            VERIFIED,
            Kind.CERTIFIED,
            Unit.SHARE,
            "share that is proven robust, of the model itself",
            ("verify",),
            True,
            _verified,
        ),
        Number(
            VERIFIED_RADIUS,
            Kind.CERTIFIED,
            Unit.DISTANCE,
            "mean proven radius of the model itself, misclassified images at 0",
            ("verify",),
            False,
            _verified_radius,
        ),
        Number(
            CERTIFIED,
            Kind.CERTIFIED,
            Unit.SHARE,
            "share that is certified by randomized smoothing, of the smoothed classifier (l2)",
            ("smoothing",),
            True,
            _certified,
        ),
        Number(
            CERTIFIED_RADIUS,
            Kind.CERTIFIED,
            Unit.DISTANCE,
            "mean certified radius of the smoothed classifier (l2), 0 where it abstains or is "
            "wrong",
            ("smoothing",),
            False,
            _certified_radius,
        ),
        *(
            Number(
                name,
                Kind.ESTIMATED,
                Unit.DISTANCE,
                f"mean radius by the {column.replace('_bound', '')}-bound from the upper limit of "
                "its fit, misclassified images at 0; may be wrong",
                ("bounds",),
                False,
                _mean_radius(column),
            )
            for name, column in ESTIMATED.items()
        ),
        Number(
            GAMMA,
            Kind.ESTIMATED,
            Unit.LOSS,
            "mean of γ, the largest deviation of the loss from its tangent that was found; the "
            "true γ can only be larger",
            ("linearity",),
            False,
            _gamma,
        ),
        Number(
            VIOLATIONS,
            Kind.MEASURED,
            Unit.COUNT,
            "estimated and certified radii that an adversarial image refutes",
            _ALL_RADII,
            False,
            _violations,
        ),
    )
}
"""Every number by its name."""
