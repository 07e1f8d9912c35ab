"""The gates of a run as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, Table

from .catalogue import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .gate import Decision, Value

HEADER = ("gate", "value", "95 % interval", "side", "threshold", "outcome", "claim")


def gates_table(decisions: Sequence[Decision]) -> Table:
    """One row per gate, with the kind of claim of its number; why those that failed did, below."""
    rows = tuple(
        (
            one.gate,
            _value(one, one.value),
            _interval(one),
            DASH if one.side is None else str(one.side),
            f"{one.relation} {_value(one, one.threshold)}",
            str(one.outcome),
            "verdict" if one.kind is None else str(one.kind),
        )
        for one in decisions
    )
    failed = sum(not one.passed for one in decisions)
    many = "1 gate" if len(decisions) == 1 else f"{len(decisions)} gates"
    said = f"{many}: all passed." if not failed else f"{many}: {failed} did not pass."
    lines = [f"{one.gate}: {one.reason}." for one in decisions if one.reason]
    return Table("gates", "", HEADER, rows, " ".join([said, *lines]))


def failure(decision: Decision) -> str:
    """Why the gate of ``decision`` did not pass, in one line."""
    name = "the masking check" if decision.kind is None else decision.gate
    separator = ": " if decision.name == "regression" else " "
    return f"{name}{separator}{decision.reason}"


def value_found(decision: Decision) -> str:
    """The number of ``decision`` with its interval, as text; empty if there is none."""
    if not isinstance(decision.value, float):
        return ""
    limits = "" if decision.lower is None else f" {_interval(decision)}"
    return f"{_value(decision, decision.value)}{limits}"


def _value(decision: Decision, value: Value | None) -> str:
    if value is None:
        return DASH
    if isinstance(value, str):
        return value
    number = NUMBERS.get(decision.name)
    return f"{value:.4g}" if number is None else number.shown(value)


def _interval(decision: Decision) -> str:
    if decision.lower is None or decision.upper is None:
        return DASH
    return f"[{100 * decision.lower:.1f}, {100 * decision.upper:.1f}]"
