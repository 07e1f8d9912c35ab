"""The main numbers of a results file, each with claim, interval and what it refers to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import with_check
from robcert.certify.core import Kind
from robcert.certify.store import plain
from robcert.certify.tables import decimal, interval, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.auditing import Findings


@dataclass(frozen=True, slots=True)
class MainNumber:
    """One number.

    Attributes:
        name: stable name, as in `--fail-under`: ``robust_accuracy``.
        title: the name in words.
        claim: kind of claim.
        value: the number.
        lower: lower limit of its 95 % interval for unseen images; NaN without one.
        upper: upper limit.
        n: number of images.
        norm: norm of the radius; empty without one.
        radius: radius, pixel units; None without one.
        share: whether the value is a share in [0, 1]; else it is a distance in pixel units.
    """

    name: str
    title: str
    claim: Kind
    value: float
    lower: float
    upper: float
    n: int
    norm: str = ""
    radius: float | None = None
    share: bool = True

    @property
    def full_name(self) -> str:
        """The name with the radius: ``robust_accuracy@8/255``."""
        return self.name if self.radius is None else f"{self.name}@{pixel(self.radius)}"

    @property
    def where(self) -> str:
        """Norm and radius in words; empty without them."""
        radius = "" if self.radius is None else f"ε = {pixel(self.radius)}"
        return ", ".join(part for part in (self.norm, radius) if part)

    @property
    def value_text(self) -> str:
        """The value as text."""
        return percent(self.value) if self.share else decimal(self.value)

    @property
    def interval_text(self) -> str:
        """The interval as text; a dash without one."""
        return interval(self)

    def to_json(self) -> dict[str, Any]:
        """The number as plain JSON; what it lacks is null."""
        values = {
            "name": self.name,
            "title": self.title,
            "claim": self.claim,
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "level": LEVEL if self.lower == self.lower else None,  # not NaN
            "images": self.n,
            "norm": self.norm or None,
            "radius": self.radius,
        }
        return dict(plain(values))


LEVEL = 0.95
"""Level of every interval here."""

NAN = float("nan")


def main_numbers(found: Findings) -> tuple[MainNumber, ...]:
    """Accuracies, clean and by radius, and the median distance, as far as ``found`` has them."""
    numbers = (*_clean(found), *_attacked(found), *_verified(found), *_smoothed(found))
    return tuple(number for number in numbers if number.value == number.value)  # not NaN


def _clean(found: Findings) -> Iterator[MainNumber]:
    accuracy = found.clean.clean_accuracy if found.clean is not None else None
    if accuracy is None and found.attack is not None and found.labelled:
        accuracy = found.attack.clean_accuracy
    if accuracy is not None:
        limits = (accuracy.value, accuracy.lower, accuracy.upper, accuracy.n)
        yield MainNumber("clean_accuracy", "accuracy", Kind.MEASURED, *limits)


def _attacked(found: Findings) -> Iterator[MainNumber]:
    attack = found.attack
    if attack is None:
        return
    title = "accuracy under attack" if found.labelled else "share that keeps its class under attack"
    for each in attack.robust_accuracy:
        entry = with_check(each, attack, found.masking)
        limits = (entry.value, entry.lower, entry.upper, attack.n)
        place = (attack.norm, entry.epsilon)
        yield MainNumber("robust_accuracy", title, Kind.ATTACKED, *limits, *place)
    if attack.median_distance is not None:
        title = "median distance of the nearest adversarial image"
        limits = (attack.median_distance, NAN, NAN, attack.n)
        yield MainNumber(
            "median_distance", title, Kind.ATTACKED, *limits, norm=attack.norm, share=False
        )


def _verified(found: Findings) -> Iterator[MainNumber]:
    proofs = found.verification
    if proofs is None:
        return
    intervals = {one.epsilon: (one.lower, one.upper) for one in proofs.certified_accuracy}
    for bracket in sorted(proofs.robust_accuracy, key=lambda one: one.epsilon):
        title = "certified share, the model itself"
        lower, upper = intervals.get(bracket.epsilon, (NAN, NAN))
        limits = (bracket.certified, lower, upper, proofs.n)
        place = (proofs.norm, bracket.epsilon)
        yield MainNumber("verified_accuracy", title, Kind.CERTIFIED, *limits, *place)


def _smoothed(found: Findings) -> Iterator[MainNumber]:
    smoothing = found.smoothing
    if smoothing is None:
        return
    for entry in smoothing.certified_accuracy:
        if entry.attainable:
            limits = (entry.value, entry.lower, entry.upper, smoothing.n)
            title = f"certified share, smoothed with σ = {smoothing.sigma:g}"
            place = ("l2", entry.radius)
            yield MainNumber("certified_accuracy", title, Kind.CERTIFIED, *limits, *place)
