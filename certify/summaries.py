"""Everything that a results file says, analysis by analysis; nothing is computed from a model."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .results_json import plain

if TYPE_CHECKING:
    from .store import AnalysisGroup, ResultStore

ANALYSES = ("clean", "linearity", "bounds", "smoothing", "attack", "masking")
"""Analyses with a table in the file; each has a module of its name in `analyses`."""


@dataclass(frozen=True, slots=True)
class Result:
    """One analysis with one set of settings.

    Attributes:
        analysis: one of ``ANALYSES``.
        group: its table in the file.
        summary: its numbers as JSON (the keys that `--json` prints).
    """

    analysis: str
    group: AnalysisGroup
    summary: dict[str, Any]


def summary_of(store: ResultStore, analysis: str, path: str) -> dict[str, Any]:
    """Summary of the group at ``path`` as JSON."""
    module = import_module(f"robcert.certify.analyses.{analysis}")
    return dict(plain(module.summarise(store, path).to_json()))


def results(store: ResultStore) -> tuple[Result, ...]:
    """Every analysis in ``store`` that has a finished row, in the order of ``ANALYSES``."""
    found = []
    for analysis in ANALYSES:
        groups = sorted(store.existing(analysis), key=lambda group: str(group.attribute("created")))
        found += [
            Result(analysis, group, summary_of(store, analysis, group.path))
            for group in groups
            if len(group.indices)
        ]
    return tuple(found)


def latest(found: tuple[Result, ...], analysis: str) -> Result | None:
    """The result of ``analysis`` that was begun last, None if there is none."""
    return next((result for result in reversed(found) if result.analysis == analysis), None)


def audit_record(store: ResultStore) -> dict[str, Any]:
    """What the last audit wrote about itself; empty where there was none."""
    groups = sorted(store.existing("audit"), key=lambda group: str(group.attribute("created")))
    return dict(groups[-1].attribute("record", {})) if groups else {}


def combined(analysis: str, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """One summary of several runs of ``analysis`` that differ in epsilon.

    Linearity lists one `gamma` entry a run; other analyses run once a command.
    """
    if analysis != "linearity":
        return dict(summaries[0])
    entries: list[dict[str, Any]] = []
    for summary in summaries:
        gamma = summary["gamma"]
        shared = {k: summary[k] for k in ("norm", "epsilon", "loss", "sided") if k in summary}
        entries += gamma if isinstance(gamma, list) else [{**shared, **gamma}]
    warnings = [line for summary in summaries for line in summary.get("warnings") or ()]
    return {**summaries[0], "gamma": entries, "warnings": list(dict.fromkeys(warnings))}
