"""All analyses of one model in one results file; unavailable ones are listed with a reason."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import (
    TwinUnavailableError,
    UnsupportedOperatorError,
    UnverifiableError,
)

from . import clean
from .inspection import inspect_classifier
from .registry import ANALYSES, Reading, Summary
from .schema import AUDIT
from .settings import INSPECTION, PARTS, AuditSettings
from .summaries import analysis_named, incomplete
from .tables import inspection_table, not_available_table
from .verdict import AuditVerdict, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup, ResultStore
    from robcert.certify.tables import Table


NOT_AVAILABLE = (TwinUnavailableError, UnsupportedOperatorError, UnverifiableError)
"""Errors that say why a part cannot be computed for this model; the other parts still run."""


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """Summaries of the parts, and the verdict.

    Attributes:
        facts: facts about the model file, as of `inspect`; empty if that part did not run.
        readings: the analyses that ran.
        not_available: why a part has no numbers, by its name.
        incomplete: a sentence on what a time budget interrupted; empty if nothing.
        verdict: verdict of the last audit in the file, which is this one right after it ran.
    """

    facts: Mapping[str, Any]
    readings: Mapping[str, Reading[Summary]]
    not_available: Mapping[str, str]
    incomplete: str
    verdict: AuditVerdict

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of every part, each line once."""
        lines = list(self.facts.get("warnings", ()))
        for reading in self.readings.values():
            lines += reading.warnings
        return tuple(dict.fromkeys([*lines, *([self.incomplete] if self.incomplete else [])]))

    def tables(self, *, labelled: bool) -> Iterator[Table]:
        """Tables of every part, in the order of the summary."""
        for part in PARTS:
            if part in self.readings:
                yield from self.readings[part].tables_for(labelled=labelled)
            elif part == INSPECTION and self.facts:
                yield inspection_table(self.facts)
            else:
                yield not_available_table(part, self.not_available[part])

    def to_json(self) -> dict[str, Any]:
        """The parts by name, ``{"not_available": reason}`` for one without numbers; the verdict."""
        return {**{part: self._part(part) for part in PARTS}, "verdict": self.verdict.to_json()}

    def _part(self, part: str) -> dict[str, Any]:
        if part in self.readings:
            return self.readings[part].to_json()
        if part == INSPECTION and self.facts:
            return dict(self.facts)
        return {"not_available": self.not_available[part]}


@dataclass(frozen=True, slots=True)
class Stage:
    """The part of an audit that starts now.

    Attributes:
        name: its name.
        place: its place among the parts that run, from 1.
        coming: names of the parts after it.
    """

    name: str
    place: int
    coming: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of parts that run."""
        return self.place + len(self.coming)


def analyse(
    session: Session,
    settings: AuditSettings,
    *,
    command: str = "",
    on_stage: Callable[[Stage], None] = lambda stage: None,
) -> str:
    """Run the parts that ``settings`` name; path of the group that records what was done.

    A part is recorded as not available, with the reason, if the model does not have what it needs
    (gradients; operators that can be bounded; scores that do not change between calls), or if the
    time budget is used up; the other parts still run.

    Args:
        session: model, images, results file.
        settings: settings of every part.
        command: the command line, recorded so that the report can print it.
        on_stage: function that is called when a part starts.
    """
    path = clean.analyse(session)
    known = session.store.model.get("doubts")
    doubts = None if known is None else tuple(known)
    facts = inspect_classifier(session.classifier, session.images, doubts=doubts).to_json()
    group = session.store.group(AUDIT, prefix="audit", settings=settings, seed=session.seed)
    keys: dict[str, str] = {}
    reasons = {part: "excluded by --only or --skip" for part in PARTS if part not in settings.parts}
    unfinished = _cut_off(session, "clean", path)
    seconds = _seconds(group)
    parts = [(row.name, row.part) for row in ANALYSES if row.part and row.name in settings.parts]
    parts.sort(key=lambda entry: entry[1].rank)
    for place, (name, part) in enumerate(parts, 1):
        on_stage(Stage(name, place, tuple(later for later, _ in parts[place:])))
        if session.out_of_time:
            reasons[name] = "the time budget was used up before it started"
            unfinished[name] = "not started"
            continue
        started = time.monotonic()
        try:
            keys[name] = part.run(session, settings)
        except NOT_AVAILABLE as error:
            reasons[name] = str(error)
            continue
        finally:  # also where Ctrl-C ends the part: the next run continues it
            seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started
            group.set_attributes(seconds=seconds)
        unfinished |= _cut_off(session, name, keys[name])
    record = {
        "keys": keys,
        "not_available": reasons,
        "unfinished": unfinished,
        "seconds": seconds,
        "command": command,
        "inspect": facts,
    }
    group.set_attributes(record=record, run=_next_run(session.store))
    return group.path


def _seconds(group: AnalysisGroup) -> dict[str, float]:
    """Time of each part in all runs of an audit so far, interrupted ones included."""
    return dict(group.attribute("seconds", group.attribute("record", {}).get("seconds", {})))


def _cut_off(session: Session, name: str, path: str) -> dict[str, str]:
    """How far the table at ``path`` got before time ran out, by ``name``; empty if it is done."""
    left, total = len(session.store.at(path).missing(session.indices)), len(session.indices)
    cut = left and session.out_of_time  # without it the model failed on the images that are left
    return {name: f"{total - left} of {total} images"} if cut else {}


def _next_run(store: ResultStore) -> int:
    """Number of the new run: one more than that of any audit in ``store``."""
    return 1 + max((int(group.attribute("run", 0)) for group in store.existing("audit")), default=0)


def summarise(store: ResultStore, path: str) -> AuditSummary:
    """Summary of the audit recorded at ``path``, from the file alone."""
    group: AnalysisGroup = store.at(path)
    record = group.attribute("record", {})
    inspected = INSPECTION not in record["not_available"]
    readings = {
        part: analysis_named(part).read(store, record["keys"][part])
        for part in PARTS
        if part in record["keys"]
    }
    reasons = {
        part: str(record["not_available"].get(part, "it did not run"))
        for part in PARTS
        if part not in readings and not (part == INSPECTION and inspected)
    }
    return AuditSummary(
        facts=record["inspect"] if inspected else {},
        readings=readings,
        not_available=reasons,
        incomplete=incomplete(record),
        verdict=verdict_of(store),
    )
