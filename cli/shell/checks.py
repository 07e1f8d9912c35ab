"""`--fail-under NAME=VALUE`: numbers that a run must reach to exit with 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from robcert.certify.errors import InvalidParameterError

from . import values

if TYPE_CHECKING:
    from robcert.certify.tables import Summary

NAMES = ("clean_accuracy", "robust_accuracy", "certified_accuracy", "median_distance")


def parsed(texts: list[str] | None, command: str) -> dict[str, float]:
    """The bars of ``--fail-under``, by name; a name may carry an ε or radius: NAME@8/255=0.4."""
    bars = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or name.partition("@")[0] not in NAMES:
            message = f"--fail-under of {command} takes NAME=VALUE, got {text!r}"
            raise InvalidParameterError(message, hint=f"NAME is one of {', '.join(NAMES)}")
        bars[name] = values.number(value)
    return bars


def enforce(bars: dict[str, float], summaries: dict[str, Summary]) -> None:
    """Exit with 1 if a number is below its bar, or is not there at all."""
    failed = False
    for name, bar in bars.items():
        value = number_called(name, summaries)
        if value is None or not value >= bar:
            shown = "not available" if value is None else f"{value:.4g}"
            typer.echo(f"failed: {name} is {shown}, below {bar:g}", err=True)
            failed = True
    if failed:
        raise typer.Exit(1)


def number_called(name: str, summaries: dict[str, Summary]) -> float | None:
    """The number ``name`` in ``summaries``; of a curve the last entry, or the one at ``@place``."""
    kind, _, place = name.partition("@")
    source = "smoothing" if kind == "certified_accuracy" else "attack"
    entry = (summaries.get(source) or {}).get(kind)
    if entry is None and kind == "clean_accuracy":
        entry = (summaries.get("inspect") or {}).get(kind)
    if isinstance(entry, list):
        entry = _at(entry, values.number(place) if place else None)
    if isinstance(entry, dict):
        entry = entry.get("value")
    return None if entry is None else float(entry)


def _at(curve: list[Summary], place: float | None) -> Summary | None:
    if place is None:
        return curve[-1] if curve else None
    near = [
        e for e in curve if abs(float(e["epsilon" if "epsilon" in e else "radius"]) - place) < 1e-9
    ]
    return near[0] if near else None
