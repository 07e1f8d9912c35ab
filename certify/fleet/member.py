"""The audit of one model of a fleet, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify import attacks, auditing
from robcert.certify.errors import ContradictionError
from robcert.certify.gates import decide_audit, failure, require_baselines, require_possible
from robcert.certify.masking import MaskingVerdict
from robcert.certify.report import write_report
from robcert.certify.store import ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.auditing import AuditSettings, SessionRequest
    from robcert.certify.gates import AnyGate
    from robcert.certify.session import Session


@dataclass(frozen=True, slots=True)
class AuditOrder:
    """What is done with every model of a fleet; it can be sent to another process.

    Attributes:
        request: model, images and how to use them; its model is replaced.
        settings: settings of every part.
        gates: what the numbers of each model must reach.
        command: the command line, for the record in the results files.
        begin: called first in each process.
    """

    request: SessionRequest
    settings: AuditSettings
    gates: tuple[AnyGate, ...] = ()
    command: str = ""
    begin: tuple[Callable[[], object], ...] = ()


def audit_member(order: AuditOrder, request: SessionRequest) -> dict[str, Any]:
    """Audit the model of ``request``, write its report, and decide its gates; in JSON's types.

    Raises:
        RobcertError: model, images or results file are not as they must be.
    """
    for call in order.begin:
        call()
    with auditing.open_session(request) as context:
        session = context.session
        require_possible(order.gates, session)
        require_baselines(order.gates, session, order.settings)
        path = auditing.analyse(session, order.settings, command=order.command)
        summary = auditing.summarise(session.store, path)
        for line in summary.warnings:
            context.warn(line)
        decisions = decide_audit(order.gates, session.store, summary)
        check = auditing.findings_of(session.store).masking
        session.store.publish()
        session.store.fold_images()
        return {
            "results": str(session.store.path),
            "report": str(write_report(session.store.path)),
            "verdict": summary.verdict.to_json(),
            "gates": [decision.to_json() for decision in decisions],
            "failures": [failure(one) for one in decisions if not one.passed],
            "warnings": context.warnings,
            "masked": check is not None and check.verdict is MaskingVerdict.MASKED,
            "contradiction": _contradiction(session),
        }


def attack_member(order: AuditOrder, request: SessionRequest) -> dict[str, Any]:
    """Attack the model of ``request`` as an audit does, for a race; in JSON's types.

    An image on which the model fails counts as one on which it is wrong.

    Raises:
        RobcertError: model, images or results file are not as they must be.
    """
    for call in order.begin:
        call()
    with auditing.open_session(request) as context:
        session = context.session
        settings = order.settings
        path = attacks.analyse(session, settings.attack, epsilons=settings.epsilons)
        group = session.store.at(path)
        epsilon = float(group.attribute("headline_epsilon"))
        held = group.computed(session.indices)
        survived = np.zeros(len(held), bool)
        survived[held] = attacks.survives(
            session.store, group, session.indices[held], epsilon, among={path}
        )
        return {
            "results": str(session.store.path),
            "survived": dict(zip(map(str, session.indices), survived.tolist(), strict=True)),
        }


def _contradiction(session: Session) -> str:
    """What refutes a certificate; empty if nothing does."""
    try:
        ledger(session.store).require_sound()
    except ContradictionError as error:
        return str(error)
    return ""
