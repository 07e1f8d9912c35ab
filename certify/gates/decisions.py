"""Decisions on gates from what a run found; nothing is computed from a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.masking import MaskingVerdict

from .catalogue import CLEAN, LEVEL, MASKING, NUMBERS, Evidence, Measurement, Number
from .gate import Decision, Gate, Outcome, Relation, Side

if TYPE_CHECKING:
    from robcert.certify.auditing import Findings


def decide(gate: Gate, evidence: Evidence) -> Decision:
    """The decision on ``gate``.

    A number that is not known fails its gate, and so does one that unfinished work may change.
    """
    if gate.name == MASKING:
        found = evidence.found
        verdict = None if found.masking is None else str(found.masking.verdict)
        unfinished = MASKING in found.cut_off
        return decide_verdict(gate, verdict, unfinished=unfinished, why=_because(evidence, MASKING))
    number = NUMBERS[gate.name]
    measured = number.measure(evidence, gate.radius)
    missing = _cut_off(number, evidence.found)
    compared = None if measured is None else _compared(measured, gate.side)
    if missing:
        so_far = (
            "" if compared is None or compared != compared else f"; so far it is {compared:.4g}"
        )
        reason = f"is undecided: the time budget ended before {missing} did{so_far}"
        return _decision(gate, number, measured, Outcome.UNDECIDED, reason)
    if measured is None or compared is None or compared != compared:
        reason = f"is not available{_why(number, evidence)}"
        return _decision(gate, number, measured, Outcome.NOT_AVAILABLE, reason)
    return _on_value(gate, number, measured, compared)


def _on_value(gate: Gate, number: Number, measured: Measurement, compared: float) -> Decision:
    threshold = float(gate.threshold)
    if measured.at_least and threshold > compared:
        reason = f"is not available: the attacks searched up to {number.shown(compared)} only"
        return _decision(gate, number, measured, Outcome.NOT_AVAILABLE, reason)
    holds = gate.relation.holds(compared, threshold)
    if measured.at_least:  # the threshold is at most the value, and the true number is larger
        holds = gate.relation in (Relation.AT_LEAST, Relation.ABOVE)
    if holds:
        return _decision(gate, number, measured, Outcome.PASSED, "")
    said = {
        Relation.AT_LEAST: "below",
        Relation.ABOVE: "not above",
        Relation.AT_MOST: "above",
        Relation.BELOW: "not below",
        Relation.EQUAL: "not",
    }[gate.relation]
    end = f"at its {gate.side} end " if gate.side is not Side.POINT else ""
    reason = f"is {end}{number.shown(compared)}, {said} {number.shown(threshold)}"
    return _decision(gate, number, measured, Outcome.FAILED, reason)


def _decision(
    gate: Gate, number: Number, measured: Measurement | None, outcome: Outcome, reason: str
) -> Decision:
    shown = measured or Measurement(float("nan"), radius=gate.radius)
    known = shown.value == shown.value
    interval = known and shown.lower is not None
    return Decision(
        gate=gate.text,
        name=gate.name,
        kind=number.kind,
        radius=shown.radius,
        value=shown.value if known else None,
        lower=shown.lower if interval else None,
        upper=shown.upper if interval else None,
        level=LEVEL if interval else None,
        side=gate.side,
        relation=gate.relation,
        threshold=gate.threshold,
        outcome=outcome,
        reason=reason,
    )


def decide_verdict(gate: Gate, verdict: str | None, *, unfinished: bool, why: str = "") -> Decision:
    """The decision on ``masking == clear``.

    Args:
        gate: that gate.
        verdict: verdict of the masking check; None if there is none.
        unfinished: whether a time budget left work of the check.
        why: why there is none.
    """
    outcome, reason = Outcome.PASSED, ""
    if unfinished:
        outcome = Outcome.UNDECIDED
        reason = "is undecided: the time budget ended before masking did"
    elif verdict is None:
        outcome = Outcome.NOT_AVAILABLE
        reason = f"was not computed{why}"
    elif verdict != MaskingVerdict.CLEAR:
        outcome, reason = Outcome.FAILED, f"says {verdict}, not clear"
    return Decision(
        gate=gate.text,
        name=gate.name,
        kind=None,
        radius=None,
        value=verdict,
        lower=None,
        upper=None,
        level=None,
        side=None,
        relation=gate.relation,
        threshold=gate.threshold,
        outcome=outcome,
        reason=reason,
    )


def _compared(measured: Measurement, side: Side) -> float | None:
    """The end of the interval on ``side``."""
    ends = {Side.LOWER: measured.lower, Side.POINT: measured.value, Side.UPPER: measured.upper}
    return ends[side]


def _cut_off(number: Number, found: Findings) -> str:
    """The first part of ``number`` that the time budget cut off; empty if none."""
    parts = number.parts
    if number.name == CLEAN and found.clean is None:
        parts = (*parts, "attack")
    return next((part for part in parts if part in found.cut_off), "")


def _why(number: Number, evidence: Evidence) -> str:
    """Why ``number`` is not known, as the end of a sentence."""
    return next(filter(None, (_because(evidence, part) for part in number.parts)), "")


def _because(evidence: Evidence, part: str) -> str:
    reason = (evidence.reasons or {}).get(part, "")
    return f": {reason}" if reason else ""
