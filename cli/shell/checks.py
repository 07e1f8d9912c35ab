"""`--fail-under NAME=VALUE` and `--strict`: what a run must reach to exit with 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from robcert.certify.errors import InvalidParameterError

from . import values
from .echo import echo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from robcert.certify.attacks import AttackSummary
    from robcert.certify.auditing import AuditSettings, Findings, Reading, Summary
    from robcert.certify.core import Norm
    from robcert.certify.verification import VerificationSettings, VerificationSummary

    from .session import CommandContext

CLEAN, ROBUST = "clean_accuracy", "robust_accuracy"
CERTIFIED, MEDIAN = "certified_accuracy", "median_distance"
VERIFIED = "verified_accuracy"

Offered = dict[str, tuple[float, ...]]
"""Numbers that a command computes, each with the radii of its curve; none for single numbers."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A number that must not be below ``least``.

    Attributes:
        text: the number as typed, for instance ``robust_accuracy@8/255``.
        name: the number without its radius.
        radius: radius in pixel units; None for that of the headline.
        least: the threshold.
    """

    text: str
    name: str
    radius: float | None
    least: float


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a gate tests.

    Attributes:
        value: the number; None if it was not computed.
        undecided: what is still to be computed and may change it; empty if nothing.
    """

    value: float | None
    undecided: str = ""


def gates_of(texts: list[str] | None, command: str, offered: Offered) -> tuple[Gate, ...]:
    """The gates of ``--fail-under``, as typed.

    Args:
        texts: ``NAME=VALUE``, where NAME may include a radius: ``robust_accuracy@8/255=0.4``.
        command: name of the command, for messages.
        offered: the numbers that this run of it will compute.

    Raises:
        InvalidParameterError: a gate is not of this form, tests a number that the run will not
            compute, or has a threshold that the number cannot reach or cannot miss.
    """
    return tuple(_gate(text, command, offered) for text in texts or ())


def of_attack(norm: Norm, epsilons: tuple[float, ...]) -> Offered:
    """The numbers of the attacks at ``epsilons``, or at the default radii if there are none."""
    from robcert.certify.attacks import default_epsilons

    return {CLEAN: (), ROBUST: epsilons or default_epsilons(norm), MEDIAN: ()}


def of_audit(settings: AuditSettings) -> Offered:
    """The numbers of the parts that an audit runs."""
    from robcert.certify.smoothing import attainable_radii

    offered: Offered = {CLEAN: ()}
    if "attack" in settings.parts:
        offered |= of_attack(settings.attack.norm, settings.epsilons)
    if "verify" in settings.parts:
        offered |= of_verification(settings.verify)
    if "smoothing" in settings.parts:
        offered[CERTIFIED] = attainable_radii(settings.smoothing)
    return offered


def of_verification(settings: VerificationSettings) -> Offered:
    """The numbers of the certificates of the model itself."""
    return {VERIFIED: settings.radii}


def of_findings(found: Findings) -> Offered:
    """The numbers that a results file holds."""
    offered: Offered = {} if found.clean is None and found.attack is None else {CLEAN: ()}
    if found.attack is not None:
        radii = tuple(entry.epsilon for entry in found.attack.robust_accuracy)
        offered |= {ROBUST: radii, MEDIAN: ()}
    if found.verification is not None:
        offered[VERIFIED] = tuple(one.epsilon for one in found.verification.robust_accuracy)
    if found.smoothing is not None:
        curve = found.smoothing.certified_accuracy
        offered[CERTIFIED] = tuple(entry.radius for entry in curve if entry.attainable)
    return offered


def require_checked(settings: AuditSettings, *, strict: bool) -> None:
    """Raise if ``--strict`` is given but the audit does not check for masking.

    Raises:
        InvalidParameterError: it does not.
    """
    if strict and "masking" not in settings.parts:
        message = "--strict needs the part masking, which --only or --skip excludes"
        raise InvalidParameterError(message, hint="add --only masking, or omit --strict")


def require_labels(gates: Sequence[Gate], context: CommandContext) -> None:
    """Raise if a gate tests the clean accuracy of images without labels.

    Raises:
        InvalidParameterError: one does.
    """
    images = context.session.images
    if images.labels is None and any(gate.name == CLEAN for gate in gates):
        message = f"--fail-under {CLEAN} needs labels, and {images.name} has none"
        raise InvalidParameterError(message, hint="pass images with labels, or omit this gate")


def findings_of_attack(context: CommandContext, readings: Sequence[Reading[Summary]]) -> Findings:
    """The attacks of this command, with the masking check that the results file holds."""
    from robcert.certify.attacks import AttackSummary
    from robcert.certify.auditing import findings_of, latest

    session, (attack, group) = context.session, latest(readings, AttackSummary)
    left = group is not None and len(group.missing(session.indices)) > 0
    cut_off = ("attack",) if left and session.out_of_time else ()
    return replace(findings_of(session.store), attack=attack, clean=None, cut_off=cut_off)


def findings_of_verification(context: CommandContext, reading: Reading[Summary]) -> Findings:
    """The certificates of this command, with what else the results file holds."""
    from robcert.certify.auditing import findings_of, latest
    from robcert.certify.verification import VerificationSummary

    session, (proofs, _) = context.session, latest([reading], VerificationSummary)
    left = len(reading.group.missing(session.indices)) > 0
    cut_off = ("verify",) if left and session.out_of_time else ()
    return replace(findings_of(session.store), verification=proofs, cut_off=cut_off)


def findings_of_masking(context: CommandContext, reading: Reading[Summary]) -> Findings:
    """The masking check of this command, with what else the results file holds."""
    from robcert.certify.auditing import findings_of, latest
    from robcert.certify.masking import MaskingSummary

    session, (check, _) = context.session, latest([reading], MaskingSummary)
    left = len(reading.group.missing(session.indices)) > 0
    cut_off = ("masking",) if left and session.out_of_time else ()
    return replace(findings_of(session.store), masking=check, cut_off=cut_off)


def enforce(gates: Sequence[Gate], found: Findings) -> None:
    """Exit with 1 if a number is below its threshold, was not computed, or is undecided."""
    failures = [line for gate in gates if (line := failure(gate, number(gate, found)))]
    for line in failures:
        echo(f"failed: {line}", err=True)
    if failures:
        raise typer.Exit(1)


def enforce_clear(found: Findings) -> None:
    """Exit with 1 unless the verdict of the masking check is clear."""
    verdict = found.masking.verdict if found.masking is not None else None
    if verdict == "clear" and "masking" not in found.cut_off:
        return
    said = f"says {verdict}, not clear" if verdict is not None else "was not computed"
    if "masking" in found.cut_off:
        said = "is undecided: the time budget ended before it did"
    echo(f"failed: the masking check {said}", err=True)
    raise typer.Exit(1)


def number(gate: Gate, found: Findings) -> Number:
    """The number that ``gate`` tests."""
    from robcert.certify.auditing import attacked_accuracy, certified_accuracy

    if gate.name == CLEAN:
        parts = ("clean",) if found.clean else ("clean", "attack")
        return Number(_clean(found), _cut_off(found, *parts))
    if gate.name == CERTIFIED:
        certified = certified_accuracy(found.smoothing, gate.radius)
        value = None if certified is None else certified.value
        return Number(value, _cut_off(found, "smoothing"))
    if gate.name == VERIFIED:
        return Number(_verified(gate, found.verification), _cut_off(found, "verify"))
    if gate.name == MEDIAN:
        return Number(_median(gate, found.attack), _cut_off(found, "attack"))
    attacked = attacked_accuracy(found.attack, found.masking, gate.radius)
    value = None if attacked is None else attacked.value
    return Number(value, _cut_off(found, "attack", "masking"))  # either may lower the number


def _cut_off(found: Findings, *parts: str) -> str:
    """The first of ``parts`` that the time budget cut off; empty if none."""
    return next((part for part in parts if part in found.cut_off), "")


def _clean(found: Findings) -> float | None:
    if found.clean is not None and found.clean.clean_accuracy is not None:
        return found.clean.clean_accuracy.value
    return found.attack.clean_accuracy.value if found.attack is not None else None


def _verified(gate: Gate, proofs: VerificationSummary | None) -> float | None:
    if proofs is None or not proofs.n:
        return None
    bracket = proofs.headline if gate.radius is None else proofs.at(gate.radius)
    return None if bracket is None else bracket.certified


def _median(gate: Gate, attack: AttackSummary | None) -> float | None:
    """The median distance; infinite if the attacks searched without a limit and found none."""
    if attack is None or not attack.n:
        return None
    if attack.median_distance is not None:
        return attack.median_distance
    searched = max(attack.radii, default=float("inf"))
    return searched if gate.least <= searched else None


def failure(gate: Gate, tested: Number) -> str:
    """Why ``gate`` is not passed; empty if it is."""
    value = tested.value
    known = value is not None and value == value
    if known and value < gate.least:  # type: ignore[operator]  # known: it is a number
        more = f" (so far: the time budget ended before {tested.undecided} did)"
        return f"{gate.text} is {value:.4g}, below {gate.least:g}{more if tested.undecided else ''}"
    if tested.undecided:
        so_far = f"; so far it is {value:.4g}" if known else ""
        return (
            f"{gate.text} is undecided: the time budget ended before {tested.undecided} did{so_far}"
        )
    return "" if known else f"{gate.text} is not available"


def _gate(text: str, command: str, offered: Offered) -> Gate:
    typed, sign, value = text.partition("=")
    name, at, place = (part.strip() for part in typed.partition("@"))
    hint = f"gates of this run: {'; '.join(_names(offered))}"
    if not sign or name not in offered or (at and not offered[name]):
        message = f"--fail-under of {command} takes NAME=VALUE, got {text!r}"
        if sign and name in (CLEAN, ROBUST, VERIFIED, CERTIFIED, MEDIAN):
            message = f"--fail-under {text}: this run computes no {typed.strip()}"
        raise InvalidParameterError(message, hint=hint)
    radius = _radius(text, values.number(place), offered[name], hint) if at else None
    if name == CERTIFIED and not [entry for entry in offered[name] if entry > 0]:
        message = f"--fail-under {text}: with these settings no image can be certified"
        raise InvalidParameterError(message, hint=hint)
    return Gate(typed.strip(), name, radius, _least(text, name, value))


def _radius(text: str, wanted: float, known: tuple[float, ...], hint: str) -> float:
    """The radius of the curve that is ``wanted``."""
    from robcert.certify.auditing import SAME_RADIUS

    near = [radius for radius in known if abs(radius - wanted) <= SAME_RADIUS]
    if not near:
        message = f"--fail-under {text}: this run computes no number at that radius"
        raise InvalidParameterError(message, hint=hint)
    return near[0]


def _least(text: str, name: str, value: str) -> float:
    """The threshold; accuracies are shares, or percentages with a percent sign."""
    least = values.share(value)
    if name != MEDIAN and not 0 < least <= 1:
        never = "always passes" if least <= 0 else "can never pass"
        message = f"--fail-under {text} {never}: an accuracy is a share between 0 and 1"
        hint = f"write {name}=0.4 or {name}=40%"
        raise InvalidParameterError(message, hint=hint)
    if name == MEDIAN and ("%" in value or least <= 0):
        message = f"--fail-under {text}: {MEDIAN} is a distance above 0, in pixel units"
        raise InvalidParameterError(message, hint=f"write {MEDIAN}=8/255")
    return least


def _names(offered: Mapping[str, tuple[float, ...]]) -> Iterator[str]:
    """The gates that exist, with their radii."""
    from robcert.certify.tables import pixel

    for name, radii in offered.items():
        places = ", ".join(f"@{pixel(radius)}" for radius in radii)
        yield f"{name} (or {places})" if places else name
