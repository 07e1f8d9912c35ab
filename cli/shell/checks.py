"""`--fail-under NAME=VALUE`: numbers that a run must reach to exit with 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from robcert.certify.errors import InvalidParameterError

from . import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.attacks import AttackSummary
    from robcert.certify.auditing import AuditSummary, Reading, Summary
    from robcert.certify.smoothing import SmoothingSummary

NAMES = ("clean_accuracy", "robust_accuracy", "certified_accuracy", "median_distance")


def parsed(texts: list[str] | None, command: str) -> dict[str, float]:
    """The thresholds of ``--fail-under`` by name, which may include ε or a radius: NAME@8/255."""
    bars = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or name.partition("@")[0] not in NAMES:
            message = f"--fail-under of {command} takes NAME=VALUE, got {text!r}"
            raise InvalidParameterError(message, hint=f"NAME is one of {', '.join(NAMES)}")
        bars[name] = values.number(value)
    return bars


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers that can have a threshold; None for those that were not computed."""

    attack: AttackSummary | None = None
    smoothing: SmoothingSummary | None = None
    clean_accuracy: float | None = None

    @classmethod
    def of_audit(cls, audit: AuditSummary) -> Numbers:
        """The numbers of an audit."""
        found = cls.of_readings(tuple(audit.readings.values()))
        inspected = (audit.facts.get("clean_accuracy") or {}).get("value")
        return replace(found, clean_accuracy=inspected)

    @classmethod
    def of_readings(cls, readings: Sequence[Reading[Summary]]) -> Numbers:
        """The numbers of the analyses of one command."""
        from robcert.certify.attacks import AttackSummary
        from robcert.certify.auditing import latest
        from robcert.certify.smoothing import SmoothingSummary

        return cls(latest(readings, AttackSummary)[0], latest(readings, SmoothingSummary)[0])

    def called(self, name: str) -> float | None:
        """The number ``name``; for a curve the last entry, or the one at ``@ε`` or ``@radius``."""
        kind, _, place = name.partition("@")
        at = values.number(place) if place else None
        if kind == "certified_accuracy":
            curve = () if self.smoothing is None else self.smoothing.certified_accuracy
            return _on_curve([(entry.radius, entry.value) for entry in curve], at)
        if self.attack is None:
            return self.clean_accuracy if kind == "clean_accuracy" else None
        if kind == "robust_accuracy":
            points = [(entry.epsilon, entry.value) for entry in self.attack.robust_accuracy]
            return _on_curve(points, at)
        if kind == "median_distance":
            return self.attack.median_distance
        return self.attack.clean_accuracy.value


def enforce(bars: dict[str, float], numbers: Numbers) -> None:
    """Exit with 1 if a number is below its threshold, or was not computed."""
    failed = False
    for name, bar in bars.items():
        value = numbers.called(name)
        if value is None or not value >= bar:
            shown = "not available" if value is None or value != value else f"{value:.4g}"
            typer.echo(f"failed: {name} is {shown}, below {bar:g}", err=True)
            failed = True
    if failed:
        raise typer.Exit(1)


def _on_curve(curve: list[tuple[float, float]], place: float | None) -> float | None:
    if place is None:
        return curve[-1][1] if curve else None
    near = [value for at, value in curve if abs(at - place) < 1e-9]
    return near[0] if near else None
