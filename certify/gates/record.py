"""The gates of a run: checks before work, decisions after it, and their record in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import INSPECTION, audit_record, findings_of, last_audit
from robcert.certify.core import Kind
from robcert.certify.errors import InvalidParameterError, StoreError
from robcert.certify.local_linearity import LinearitySummary
from robcert.certify.stats import proportion
from robcert.certify.store import ResultStore

from .catalogue import CLEAN, NUMBERS, Evidence, Unit
from .decisions import decide
from .gate import AnyGate, Decision, Gate, Outcome, RegressionGate, Relation, Side, Value
from .grammar import Reader
from .offered import of_audit
from .regression import decide_regression, require_baseline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.auditing import AuditSettings, AuditSummary
    from robcert.certify.session import Session

ATTRIBUTE = "gates"
"""Attribute of the record of an audit that holds the decisions."""


def gates_of_audit(
    texts: Sequence[str], settings: AuditSettings, *, source: str = "gates"
) -> tuple[AnyGate, ...]:
    """The gates ``texts`` of an audit, each once.

    Args:
        texts: gates as typed.
        settings: settings of the audit.
        source: where the texts were written, for messages.

    Raises:
        RobcertError: one is not a gate, or the audit cannot decide it; or a baseline cannot be
            read.
    """
    reader = Reader(of_audit(settings), source)
    gates = tuple(dict.fromkeys(reader.gate(text) for text in texts))
    require_readable(gates)
    return gates


def require_readable(gates: Sequence[AnyGate]) -> None:
    """Raise if the results file of a baseline cannot be read; before a model is loaded.

    Raises:
        StoreError: one cannot.
    """
    for gate in gates:
        if isinstance(gate, RegressionGate):
            with ResultStore.read(gate.baseline):
                pass


def require_possible(gates: Sequence[AnyGate], session: Session) -> None:
    """Raise if a gate cannot pass whatever the run finds.

    Raises:
        InvalidParameterError: it tests the clean accuracy of images without labels, or an end of an
            interval that so few images cannot bring to the threshold.
    """
    images, count = session.images, len(session.indices)
    for gate in gates:
        if not isinstance(gate, Gate):
            continue
        if gate.name == CLEAN and images.labels is None:
            message = f"the gate {gate.text} needs labels, and {images.name} has none"
            raise InvalidParameterError(message, hint="pass images with labels, or omit this gate")
        if gate.name in NUMBERS and NUMBERS[gate.name].unit is Unit.SHARE:
            _require_enough(gate, count)


def require_baselines(gates: Sequence[AnyGate], session: Session, settings: AuditSettings) -> None:
    """Raise if the run cannot be compared with the baseline of a regression.

    Raises:
        RobcertError: see :func:`require_baseline`.
    """
    for gate in gates:
        if isinstance(gate, RegressionGate):
            require_baseline(gate, session, settings)


def decide_audit(
    gates: Sequence[AnyGate], store: ResultStore, summary: AuditSummary
) -> tuple[Decision, ...]:
    """The decisions on the gates of the audit that ran last, which are stored in its record."""
    decisions = _decisions(gates, store, summary) if gates else ()
    audit = last_audit(store)
    if audit is not None:
        audit.set_attributes(**{ATTRIBUTE: [decision.to_json() for decision in decisions]})
    return decisions


def _decisions(
    gates: Sequence[AnyGate], store: ResultStore, summary: AuditSummary
) -> tuple[Decision, ...]:
    found, record = findings_of(store), audit_record(store)
    reading = summary.readings.get("linearity")
    linearity = reading.summary if reading is not None else None
    evidence = Evidence(
        found,
        linearity if isinstance(linearity, LinearitySummary) else None,
        {part: why for part, why in summary.not_available.items() if part != INSPECTION},
    )
    paths = ("clean", *record["keys"].values())
    return tuple(
        decide_regression(gate, store, paths, found.cut_off)
        if isinstance(gate, RegressionGate)
        else decide(gate, evidence)
        for gate in gates
    )


def recorded(store: ResultStore) -> tuple[Decision, ...]:
    """The decisions on the gates of the audit that ran last; empty if it had none.

    Raises:
        StoreError: the record is not one that robcert writes.
    """
    audit = last_audit(store)
    entries = [] if audit is None else audit.attribute(ATTRIBUTE, [])
    try:
        return tuple(_decision(dict(entry)) for entry in entries)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        message = f"{store.path}: the gates of the audit are not as robcert writes them: {error}"
        raise StoreError(message, hint="run the audit again") from None


def _decision(entry: dict[str, Any]) -> Decision:
    """The decision that ``entry`` is the JSON of.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it is not that of one.
    """
    kind, side = entry["kind"], entry["side"]
    return Decision(
        gate=_text(entry["gate"]),
        name=_text(entry["name"]),
        kind=None if kind is None else Kind(kind),
        radius=_number(entry["radius"]),
        value=_value(entry["value"]),
        lower=_number(entry["lower"]),
        upper=_number(entry["upper"]),
        level=_number(entry["level"]),
        side=None if side is None else Side(side),
        relation=Relation(entry["relation"]),
        threshold=_threshold(entry["threshold"]),
        outcome=Outcome(entry["outcome"]),
        reason=_text(entry["reason"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"{value!r:.40} is not text"
        raise TypeError(message)
    return value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _value(value: Any) -> Value | None:
    return value if isinstance(value, str) else _number(value)


def _threshold(value: Any) -> Value:
    return value if isinstance(value, str) else float(value)


def _require_enough(gate: Gate, count: int) -> None:
    """Raise if no result of ``count`` images reaches the threshold."""
    best = [proportion(successes, count) for successes in (0, count)] if count else []
    ends = [
        {Side.LOWER: one.lower, Side.POINT: one.value, Side.UPPER: one.upper}[gate.side]
        for one in best
    ]
    threshold = float(gate.threshold)
    if not ends or any(gate.relation.holds(end, threshold) for end in ends):
        return
    limit = max(ends) if gate.side is Side.LOWER else min(ends)
    message = (
        f"the gate {gate.text} can never pass with {count} images: the {gate.side} end of the 95 % "
        f"interval is {limit:.4g} at best"
    )
    raise InvalidParameterError(message, hint="test more images, or compare (point)")
