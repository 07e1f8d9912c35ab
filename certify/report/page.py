"""A self-contained HTML page from a results file; no model is run, no network is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import (
    audit_record,
    findings_of,
    labelled,
    latest,
    of_kind,
    results,
    standards_tables,
    violations_table,
)
from robcert.certify.gates import gates_table, recorded
from robcert.certify.masking import MaskingSummary
from robcert.certify.store import ResultStore
from robcert.certify.tables import Place
from robcert.certify.whole_file import write_whole

from .analyses import parts
from .examples import examples
from .failures import failures
from .figures import accuracy_title, figures
from .first_screen import first_screen
from .masking import masking_view
from .provenance import commands, header, settings
from .templates import rendered
from .trust import checks, warnings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robcert.certify.auditing import Findings, Readings

    from .figures import Figure
    from .masking import MaskingView


def write_report(results_file: Path, destination: Path | None = None) -> Path:
    """Write the report of ``results_file`` and return its path (default: beside it, `.html`).

    Raises:
        StoreError: the file cannot be read or is not a results file.
        OutputError: the page cannot be written.
    """
    target = destination or _beside(results_file)
    with ResultStore.read(results_file) as store:
        page = render(store)
    write_whole(target, page.encode())
    return target


def _beside(results_file: Path) -> Path:
    """``r.h5`` makes ``r.html``; results that are named so themselves make ``r.html.html``."""
    beside = results_file.with_suffix(".html")
    return beside if beside != results_file else results_file.with_name(f"{beside.name}.html")


def render(store: ResultStore) -> str:
    """The page as text."""
    found = results(store)
    return rendered("report.html.j2", _content(store, found, findings_of(store)))


def _content(store: ResultStore, found: Readings, said: Findings) -> dict[str, Any]:
    """Content for the template."""
    drawn = figures(store, found)
    record, gates = audit_record(store), recorded(store)
    first = first_screen(store, found, said)
    twice = () if first.picture is None else _shown_twice(said, found)
    return {
        **header(store),
        "first": first,
        "gates": gates_table(gates) if gates else None,
        "checks": checks(store, found, said),
        "warnings": warnings(store, found),
        "masking": _masking(store, found, drawn),
        "ledger": violations_table(said.ledger),
        "ledger_plots": [figure for figure in drawn if figure.place is Place.LEDGER],
        "failures": failures(store, said),
        "examples": examples(store, said.attack_group),
        "parts": parts(found, drawn, named=labelled(store), without=twice),
        "not_available": sorted(record.get("not_available", {}).items()),
        "commands": commands(store, found, record),
        "groups": settings(found),
        "standards": standards_tables(store),
    }


def _shown_twice(said: Findings, found: Readings) -> tuple[str, ...]:
    """Title of the figure that the first screen shows too; none where it has more curves."""
    kinds = [type(one) for one in (said.attack, said.bounds, said.verification) if one is not None]
    norm = "" if said.attack is None else said.attack.norm
    several = any(
        sum(getattr(summary, "norm", "") == norm for summary, _ in of_kind(found, kind)) > 1
        for kind in kinds
    )
    return () if several or not norm else (accuracy_title(norm),)


def _masking(store: ResultStore, found: Readings, drawn: Sequence[Figure]) -> MaskingView | None:
    """The masking check that ran last; None without any."""
    summary, group = latest(found, MaskingSummary)
    if summary is None or group is None:
        return None
    return masking_view(
        summary,
        group,
        [figure for figure in drawn if figure.place is Place.MASKING],
        labelled=labelled(store),
        names=store.class_names,
    )
