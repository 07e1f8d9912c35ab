"""Is a model worse than an earlier one? Paired tests of every number of both on the same images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from robcert.certify.comparison import ComparisonSettings, Difference, differences
from robcert.certify.core import Kind
from robcert.certify.errors import InvalidParameterError
from robcert.certify.stats import Correction, adjusted_p_values, sign_test_p_value
from robcert.certify.store import ResultStore, canonical_json

from .gate import Decision, Outcome, RegressionGate, Relation

if TYPE_CHECKING:
    from collections.abc import Collection

    from robcert.certify.auditing import AuditSettings
    from robcert.certify.session import Session

TESTED = (Kind.MEASURED, Kind.ATTACKED, Kind.CERTIFIED)
"""Kinds of numbers that are tested; a larger one is better. Estimates are no evidence."""


def require_baseline(gate: RegressionGate, session: Session, settings: AuditSettings) -> None:
    """Raise if the run cannot be compared with the baseline.

    Raises:
        StoreError: the baseline cannot be read or is not a results file.
        InvalidParameterError: it is the file of this run, or is about other images, another number
            of classes, or attacks with other settings.
    """
    store = session.store
    if gate.baseline.resolve() == store.path.resolve():
        message = f"{gate.text}: the baseline is the results file of this run"
        raise InvalidParameterError(message, hint="name the file of another model, or pass --out")
    with ResultStore.read(gate.baseline) as other:
        fault = _other_model(store, other) or _other_settings(session, settings, other)
    if fault:
        hint = f"make {gate.baseline} by robcert audit with the same options"
        message = f"{gate.text}: {fault}"
        raise InvalidParameterError(message, hint=hint)


def decide_regression(
    gate: RegressionGate, store: ResultStore, paths: Collection[str], cut_off: Collection[str]
) -> Decision:
    """The decision on ``gate``.

    Every number of which a larger one is better is tested by the exact one-sided sign test over the
    images on which the models differ (for accuracies McNemar's), and the p-values are adjusted for
    their number by Holm's correction: if no number is worse, the gate fails with probability at
    most its level.

    Args:
        gate: the gate.
        store: results of this run.
        paths: paths of its tables.
        cut_off: parts that a time budget interrupted.

    Raises:
        StoreError: the baseline cannot be read.
    """
    own = {path.strip("/") for path in paths}
    with ResultStore.read(gate.baseline) as other:
        found = [
            difference
            for difference in differences(store, other, ComparisonSettings())
            if difference.kind in TESTED and difference.table.strip("/") in own
        ]
    if not found:
        reason = "is not available: the two files have no numbers for the same images and settings"
        return _decision(gate, None, None, Outcome.NOT_AVAILABLE, reason)
    p_values = adjusted_p_values(
        [sign_test_p_value(one.more_b, one.more_a) for one in found], Correction.HOLM
    )
    worst, p_value = min(zip(found, p_values, strict=True), key=lambda pair: pair[1])
    said = _said(worst, p_value, len(found))
    if cut_off:
        reason = f"is undecided: the time budget ended before {min(cut_off)} did; so far {said}"
        return _decision(gate, worst, p_value, Outcome.UNDECIDED, reason)
    if p_value <= gate.level:
        return _decision(gate, worst, p_value, Outcome.FAILED, said)
    return _decision(gate, worst, p_value, Outcome.PASSED, said)


def _said(worst: Difference, p_value: float, many: int) -> str:
    """The most significant decrease in words; ``worst`` is this run, then the baseline."""
    return (
        f"{worst.quantity}: {worst.b:.4g} in the baseline, {worst.a:.4g} now, worse on "
        f"{worst.more_b} and better on {worst.more_a} of {worst.n} images (adjusted p = "
        f"{p_value:.3g} of {many} tests)"
    )


def _decision(
    gate: RegressionGate,
    worst: Difference | None,
    p_value: float | None,
    outcome: Outcome,
    reason: str,
) -> Decision:
    return Decision(
        gate=gate.text,
        name="regression",
        kind=None if worst is None else worst.kind,
        radius=None,
        value=p_value,
        lower=None,
        upper=None,
        level=gate.level,
        side=None,
        relation=Relation.ABOVE,
        threshold=gate.level,
        outcome=outcome,
        reason=reason,
    )


def _other_model(store: ResultStore, other: ResultStore) -> str:
    """What makes the two models incomparable; empty if nothing does."""
    if store.data["sha256"] != other.data["sha256"]:
        return f"the baseline is about {other.data['name']}, this run about {store.data['name']}"
    own, before = (one.model.get("output_shape") or [0] for one in (store, other))
    if own[-1] != before[-1]:
        return f"the model of the baseline has {before[-1]} classes, that of this run {own[-1]}"
    return ""


def _other_settings(session: Session, settings: AuditSettings, other: ResultStore) -> str:
    """Why the baseline lacks this run's numbers; empty if it has some of an attack or certificate.

    Rows of one image do not depend on the others, so the baseline need not have the same images.
    """
    wanted = json.loads(canonical_json(settings))
    parts = [part for part in ("attack", "verify", "smoothing") if part in settings.parts]
    audits = [group for group in other.existing("audit") if group.seed == session.seed]
    same = [
        part
        for part in parts
        for group in audits
        if group.settings.get(part) == wanted[part] and part in group.settings.get("parts", ())
    ]
    if not audits:
        return f"the baseline holds no audit with the seed {session.seed}"
    if not same:
        return f"the baseline has {' and '.join(parts)} with other settings only"
    if not {*map(int, session.indices)} & {*map(int, other.indices)}:
        return "the baseline has none of the images of this run"
    return ""
