"""Everything that a results file says, analysis by analysis; nothing is computed from a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.store import plain

from .registry import ANALYSES

if TYPE_CHECKING:
    from robcert.certify.store import AnalysisGroup, ResultStore


@dataclass(frozen=True, slots=True)
class Result:
    """One analysis with one set of settings.

    Attributes:
        analysis: its name in the registry.
        group: its table in the file.
        summary: its numbers as JSON (the keys that `--json` prints).
    """

    analysis: str
    group: AnalysisGroup
    summary: dict[str, Any]


def summary_of(store: ResultStore, analysis: str, path: str) -> dict[str, Any]:
    """Summary of the group at ``path`` as JSON."""
    row = next(row for row in ANALYSES if row.name == analysis)
    return dict(plain(row.summarise(store, path).to_json()))


def results(store: ResultStore) -> tuple[Result, ...]:
    """Every analysis in ``store`` that has a finished row, in the order of ``ANALYSES``."""
    found = []
    for analysis in ANALYSES:
        found += [
            Result(analysis.name, group, summary_of(store, analysis.name, group.path))
            for group in store.existing(analysis.schema.name)
            if len(group.indices)
        ]
    return tuple(found)


def labelled(store: ResultStore) -> bool:
    """Whether the images in ``store`` carry labels; without, all numbers are about stability."""
    return not len(store.labels) or bool((store.labels >= 0).any())


def latest(found: tuple[Result, ...], analysis: str) -> Result | None:
    """The result of ``analysis`` that was begun last, None if there is none."""
    return next((result for result in reversed(found) if result.analysis == analysis), None)


def audit_record(store: ResultStore) -> dict[str, Any]:
    """What the last audit wrote about itself; empty where there was none."""
    groups = store.existing("audit")
    return dict(groups[-1].attribute("record", {})) if groups else {}


def last_audit(store: ResultStore) -> str | None:
    """Path of the audit that ran last; None where there was none."""
    groups = store.existing("audit")
    return groups[-1].path if groups else None


def incomplete(record: dict[str, Any]) -> str:
    """What a time budget cut off the audit of ``record``; empty where it cut off nothing."""
    cut_off = ", ".join(f"{part} ({far})" for part, far in record.get("unfinished", {}).items())
    if not cut_off:
        return ""
    return (
        f"Incomplete: the time budget ended before {cut_off}; the same command with more time "
        "continues."
    )


def combined(analysis: str, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """One summary of several runs of ``analysis`` that differ in epsilon or sigma.

    Linearity lists one `gamma` entry a run, and all there is to say under `runs`; smoothing with
    several sigma lists all certified accuracies, each with its sigma, and `runs`; other analyses
    run once a command.
    """
    if analysis == "smoothing" and len(summaries) > 1:
        return _several_sigma(summaries)
    if analysis != "linearity":
        return dict(summaries[0])
    shared = ("norm", "epsilon", "loss", "sided")
    entries = [{**{k: one[k] for k in shared}, **one["gamma"]} for one in summaries]
    warnings = [line for one in summaries for line in one["warnings"]]
    return {"gamma": entries, "runs": summaries, "warnings": list(dict.fromkeys(warnings))}


def _several_sigma(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    curves = [
        {"sigma": one["sigma"], **entry} for one in summaries for entry in one["certified_accuracy"]
    ]
    warnings = [f"σ = {one['sigma']:g}: {line}" for one in summaries for line in one["warnings"]]
    warnings.append(
        "each σ is a smoothed classifier of its own with an alpha of its own: the largest radius "
        "of an image over several σ is no certificate"
    )
    return {"certified_accuracy": curves, "runs": summaries, "warnings": warnings}
