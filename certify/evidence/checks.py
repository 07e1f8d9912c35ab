"""Checks of a results file with their outcomes: what JUnit, SARIF and statements are made from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import audit_record
from robcert.certify.core import Kind
from robcert.certify.gates import Outcome as GateOutcome
from robcert.certify.gates import failure, value_found
from robcert.certify.masking import MaskingVerdict
from robcert.certify.tables import decimal, percent, pixel

from .numbers import main_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.auditing import Findings
    from robcert.certify.gates import Decision
    from robcert.certify.store import Ledger, ResultStore


class Outcome(StrEnum):
    """How a check ended; only a failed one changes the exit status."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of check.

    Attributes:
        id: stable name; it never changes its meaning.
        title: what is checked, a few words.
        doc: what a failure or warning means and what to do.
    """

    id: str
    title: str
    doc: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one results file.

    Attributes:
        rule: its kind.
        subject: what tells it from other checks of its rule, such as ``robust_accuracy@8/255``;
            it does not depend on values, and on a threshold only where several gates are on one
            number. Empty where a rule has one check.
        outcome: how it ended.
        message: one sentence without a full stop.
    """

    rule: Rule
    subject: str
    outcome: Outcome
    message: str

    @property
    def name(self) -> str:
        """Its name in reports; equal names are equal checks."""
        return f"{self.rule.title}: {self.subject}" if self.subject else self.rule.title


GATE = Rule(
    "gate",
    "threshold",
    "A number misses the threshold of a gate, was not computed, or is undecided "
    "because the time budget ended. Improve the model, or give the run more time.",
)
MASKING = Rule(
    "gradient-masking",
    "gradients are usable",
    "The masking check does not say clear: attacks that follow the gradient may fail for lack of a "
    "usable gradient, and numbers based on them are too high. See the masking check of the report.",
)
CERTIFIED_LEDGER = Rule(
    "certified-radius-refuted",
    "certified radii do not exceed attacked distances",
    "An adversarial image lies within a certified radius. For the model itself this is a fault of "
    "robcert: report it, and trust no certificate of the file.",
)
ESTIMATED_LEDGER = Rule(
    "estimated-radius-refuted",
    "estimated radii do not exceed attacked distances",
    "An adversarial image lies within an estimated radius: the estimate is wrong there. Do not "
    "rely on estimated radii of this model.",
)
PARITY = Rule(
    "gradient-parity",
    "gradients are those of the shipped model",
    "There is no differentiable copy of the model that agrees with its runtime, so analyses that "
    "need gradients were not run. The reason is in the message.",
)
DOUBT = Rule(
    "doubtful-input",
    "the model gets the input that it expects",
    "There are signs that preprocessing, labels or scores are not what they should be. Check "
    "--mean, --std, --range and --layout, and the order of the classes.",
)
COMPLETE = Rule(
    "incomplete",
    "every requested part is complete",
    "A time budget ended before a part of the audit, or a part is not available for this model. "
    "Run the same command again to continue, or read the reason.",
)
RULES = (GATE, MASKING, CERTIFIED_LEDGER, ESTIMATED_LEDGER, PARITY, DOUBT, COMPLETE)
"""Every rule, in the order of reports."""

EXCLUDED = "excluded by --only or --skip"
"""Reason in the record of an audit for parts that nobody requested."""


def checks_of(
    store: ResultStore,
    found: Findings,
    decisions: Sequence[Decision] = (),
    *,
    audited: bool = True,
) -> tuple[Check, ...]:
    """One check per gate, then those that every results file gets.

    Args:
        store: the results file.
        found: its findings.
        decisions: how the gates ended.
        audited: whether the parts of the last audit in the file count.
    """
    record = audit_record(store) if audited else {}
    gated = any(decision.name == "masking" for decision in decisions)
    return (
        *_gates(decisions, found),
        *(() if gated else _masking(found)),
        _certified(found.ledger),
        _estimated(found.ledger),
        _parity(store),
        _doubts(found),
        _complete(found, record.get("not_available", {}), _unfinished(store, record, audited)),
    )


def worst(checks: tuple[Check, ...]) -> Outcome:
    """The outcome of all ``checks`` together."""
    outcomes = {check.outcome for check in checks}
    order = (Outcome.FAILED, Outcome.WARNED)
    return next((outcome for outcome in order if outcome in outcomes), Outcome.PASSED)


def _gates(decisions: Sequence[Decision], found: Findings) -> Iterator[Check]:
    """One check per gate; those on one number are told apart by the whole gate."""
    images = {(one.name, one.radius): one.n for one in main_numbers(found)}
    subjects = Counter(map(_subject, decisions))
    for decision in decisions:
        subject = _subject(decision)
        outcome = Outcome.PASSED if decision.passed else Outcome.FAILED
        message = _said(decision, images.get((decision.name, decision.radius)))
        rule = GATE if subject else MASKING
        alone = not subject or subjects[subject] == 1
        yield Check(rule, subject if alone else decision.gate, outcome, message)


def _subject(decision: Decision) -> str:
    """The number of a gate with its radius; empty for the verdict of the masking check."""
    if decision.name == "masking":
        return ""
    return decision.name + ("" if decision.radius is None else f"@{pixel(decision.radius)}")


def _said(decision: Decision, images: int | None) -> str:
    """How a gate ended, with the number, its interval, the images and the kind of claim."""
    said = f"{decision.gate} holds" if decision.passed else failure(decision)
    if decision.name == "regression":
        return f"{said}: {decision.reason}" if decision.passed else said
    value = value_found(decision)
    if not value or decision.outcome in (GateOutcome.UNDECIDED, GateOutcome.NOT_AVAILABLE):
        return said
    tested = "" if images is None else f", {images} images"
    return f"{said} ({decision.kind}: {value}{tested})"


def _masking(found: Findings) -> Iterator[Check]:
    """The verdict of the masking check, if it ran."""
    if found.masking is None:
        return
    undecided, verdict = "masking" in found.cut_off, found.masking.verdict
    said = "is undecided: the time budget ended before it did" if undecided else f"says {verdict}"
    clear = verdict is MaskingVerdict.CLEAR and not undecided
    outcome = Outcome.PASSED if clear else Outcome.WARNED
    yield Check(MASKING, "", outcome, f"the masking check {said}")


def _certified(found: Ledger) -> Check:
    refuted = sum(one.count for one in found.comparisons if one.kind is Kind.CERTIFIED)
    outcome = Outcome.PASSED
    if refuted:  # one of the smoothed classifier may be wrong with the stated probability
        outcome = Outcome.FAILED if found.contradictions else Outcome.WARNED
    return Check(CERTIFIED_LEDGER, "", outcome, _compared(found, Kind.CERTIFIED))


def _estimated(found: Ledger) -> Check:
    refuted = sum(one.count for one in found.comparisons if one.kind is Kind.ESTIMATED)
    outcome = Outcome.WARNED if refuted else Outcome.PASSED
    return Check(ESTIMATED_LEDGER, "", outcome, _compared(found, Kind.ESTIMATED))


def _compared(found: Ledger, kind: Kind) -> str:
    """How many pairs were compared, and which images refute."""
    entries = [one for one in found.comparisons if one.kind is kind]
    compared, refuted = sum(e.compared for e in entries), sum(e.count for e in entries)
    if not compared:
        return f"nothing to compare: no image has both a number that is {kind} and an attack"
    images = sorted({index for entry in entries for index in entry.indices})
    where = f": images {', '.join(map(str, images[:8]))}{', …' if images[8:] else ''}"
    return f"{refuted} of {compared} comparisons refute a number that is {kind}" + (
        where if refuted else ""
    )


def _parity(store: ResultStore) -> Check:
    missing, parity = store.model.get("twin_unavailable"), store.model.get("parity")
    if missing:
        return Check(PARITY, "", Outcome.WARNED, f"no gradients: {missing}")
    if not parity:
        return Check(PARITY, "", Outcome.PASSED, "gradients are taken in the model itself")
    said = (
        f"the copy with gradients predicts the runtime's class on "
        f"{percent(parity['top1_agreement'])} of {parity['images']} images"
    )
    if parity.get("gradient_correlation") is not None:
        said += f", and slopes correlate at {decimal(parity['gradient_correlation'])}"
    return Check(PARITY, "", Outcome.PASSED, said)


def _doubts(found: Findings) -> Check:
    if not found.doubts:
        return Check(DOUBT, "", Outcome.PASSED, "no sign that it does not")
    lines = "; ".join(line.removeprefix("Doubtful: ").rstrip(".") for line in found.doubts)
    return Check(DOUBT, "", Outcome.WARNED, lines)


def _unfinished(store: ResultStore, record: dict[str, Any], audited: bool) -> list[str]:
    """Tables of the last audit, or of a file without one, that a run left before its end."""
    if not audited:
        return []
    paths = record["keys"].values() if record else store.tables
    return [path.strip("/") for path in paths if not store.at(path).complete]


def _complete(found: Findings, not_available: dict[str, str], unfinished: list[str]) -> Check:
    lacking = [f"{part}: {why}" for part, why in not_available.items() if why != EXCLUDED]
    ended = f"the time budget ended before {', '.join(found.cut_off)} did" if found.cut_off else ""
    if not ended and unfinished:
        ended = f"the run ended before {', '.join(unfinished)} did: run the same command again"
    lines = [line for line in (found.incomplete.rstrip(".") or ended, *lacking) if line]
    if not lines:
        return Check(COMPLETE, "", Outcome.PASSED, "every requested part has its numbers")
    return Check(COMPLETE, "", Outcome.WARNED, "; ".join(lines))
