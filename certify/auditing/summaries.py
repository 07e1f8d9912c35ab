"""Summaries of a results file, per analysis; nothing is computed from a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .registry import ANALYSES, Analysis, Reading, Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.store import AnalysisGroup, ResultStore

Readings = tuple[Reading[Summary], ...]
"""Summaries of every table of a results file."""

S = TypeVar("S", bound=Summary)


def analysis_named(name: str) -> Analysis:
    """The row of the registry called ``name``."""
    return next(row for row in ANALYSES if row.name == name)


def results(store: ResultStore) -> Readings:
    """Every table in ``store`` that has a finished row, in the order of ``ANALYSES``."""
    return tuple(
        row.read(store, group.path)
        for row in ANALYSES
        for group in store.existing(row.schema.name)
        if len(group.indices)
    )


def of_kind(found: Sequence[Reading[Summary]], kind: type[S]) -> Iterator[tuple[S, AnalysisGroup]]:
    """Summaries of the class ``kind`` with their tables, oldest first."""
    for reading in found:
        if isinstance(reading.summary, kind):
            yield reading.summary, reading.group


def latest(
    found: Sequence[Reading[Summary]], kind: type[S]
) -> tuple[S, AnalysisGroup] | tuple[None, None]:
    """The summary of the class ``kind`` whose table was created last, with its table."""
    *_, last = ((None, None), *of_kind(found, kind))
    return last


def labelled(store: ResultStore) -> bool:
    """Whether the images in ``store`` carry labels; without, all numbers are about stability."""
    return not len(store.labels) or bool((store.labels >= 0).any())


def last_audit(store: ResultStore) -> AnalysisGroup | None:
    """The record of the audit that ran last; None if there is none.

    The attribute ``run`` numbers the runs of audits, repeated ones included. Files of earlier
    versions lack it; there the audit that was created last is returned.
    """
    newest_first = reversed(store.existing("audit"))
    return max(newest_first, key=lambda group: int(group.attribute("run", 0)), default=None)


def audit_record(store: ResultStore) -> dict[str, Any]:
    """Attributes of the audit that ran last; empty if there is none."""
    group = last_audit(store)
    return {} if group is None else dict(group.attribute("record", {}))


def incomplete(record: dict[str, Any]) -> str:
    """A sentence on what a time budget interrupted; empty if the audit was not interrupted."""
    cut_off = ", ".join(f"{part} ({far})" for part, far in record.get("unfinished", {}).items())
    if not cut_off:
        return ""
    return (
        f"Incomplete: the time budget ended before {cut_off}; run the same command again to "
        "continue."
    )
