"""`--gate`, `--fail-under NAME=VALUE` and `--strict`: what a run must reach to exit with 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from robcert.certify.errors import InvalidParameterError

from .echo import echo
from .invocation import configured, source_of
from .session import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from robcert.certify.auditing import AuditSettings, Findings, Reading, Summary
    from robcert.certify.gates import AnyGate, Decision, Gate, Offered

    from .options import AnalysisOptions
    from .session import CommandContext


@dataclass(frozen=True, slots=True)
class TypedGates:
    """The options of gates as typed.

    Attributes:
        gate: texts of `--gate`.
        fail_under: texts of `--fail-under`.
        strict: whether `--strict` was given.
        source: where the texts of ``gate`` were written, for messages.
    """

    gate: Sequence[str] = ()
    fail_under: Sequence[str] = ()
    strict: bool = False
    source: str = "--gate"


def left_to_all_images(options: AnalysisOptions, given: Mapping[str, object]) -> bool:
    """Whether the gates are those of the run on all images, because this one is on a shard.

    A configuration file is the same for both, so a note says that its gates do not count yet.

    Args:
        options: the options of the run.
        given: values of the options of gates, by key.

    Raises:
        InvalidParameterError: a gate was typed for a shard.
    """
    wanted = [key for key, value in given.items() if value]
    if options.shard is None or not wanted:
        return False
    typed = [key for key in wanted if key not in configured().words]
    if typed:
        message = f"{source_of(typed[0])} is about all images, and --shard selects a part of them"
        hint = "pass it to the same command without --shard, on the file of robcert merge"
        raise InvalidParameterError(message, hint=hint)
    note(options, "gates are left to the same command without --shard, on all images")
    return True


def gates_of_audit(typed: TypedGates, settings: AuditSettings) -> tuple[AnyGate, ...]:
    """The gates of an audit; each gate once.

    Raises:
        RobcertError: one is not a gate, or the audit cannot decide it; or a baseline cannot be
            read.
    """
    from robcert.certify import gates

    if typed.strict and "masking" not in settings.parts:
        message = "--strict needs the part masking, which --only or --skip excludes"
        raise InvalidParameterError(message, hint="add --only masking, or omit --strict")
    found = (
        *gates.gates_of_audit(typed.gate, settings, source=typed.source),
        *fail_under_gates(typed.fail_under, gates.of_audit(settings)),
        *((gates.masking_gate(),) if typed.strict else ()),
    )
    return tuple(dict.fromkeys(found))


def fail_under_gates(texts: Sequence[str] | None, offered: Offered) -> tuple[Gate, ...]:
    """The gates of `--fail-under` for a run that computes ``offered``.

    Raises:
        InvalidParameterError: one is not of the form NAME=VALUE, or the run cannot decide it.
    """
    from robcert.certify.gates import Reader

    reader = Reader(offered, "--fail-under")
    return tuple(reader.short(text) for text in texts or ())


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


def decided(gates: Sequence[Gate], found: Findings) -> tuple[Decision, ...]:
    """The decisions on the gates of one analysis."""
    from robcert.certify.gates import Evidence, decide

    return tuple(decide(gate, Evidence(found)) for gate in gates)


def enforce(decisions: Sequence[Decision]) -> None:
    """Exit with 1 if a gate did not pass, and say why."""
    from robcert.certify.gates import failure

    failed = [decision for decision in decisions if not decision.passed]
    for decision in failed:
        echo(f"failed: {failure(decision)}", err=True)
    if failed:
        raise typer.Exit(1)
