"""A self-contained HTML page from a results file; no model is run, no network is used."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.attacks import AttackSummary
from robcert.certify.auditing import (
    Section,
    audit_record,
    cards,
    findings_of,
    labelled,
    latest,
    results,
    standards_tables,
    verdict,
    violations_table,
)
from robcert.certify.gates import gates_table, recorded
from robcert.certify.masking import MaskingSummary
from robcert.certify.store import ResultStore
from robcert.certify.tables import Place, Table, fact, known
from robcert.certify.visible import visible
from robcert.certify.whole_file import write_whole

from .examples import examples
from .figures import figures
from .masking import masking_view

if TYPE_CHECKING:
    from robcert.certify.auditing import Readings

MODEL_FACTS = (
    ("file", "file"),
    ("sha256", "SHA-256"),
    ("kind", "kind"),
    ("producer", "producer"),
    ("opset", "opset"),
    ("input_shape", "input shape"),
    ("output_shape", "output shape"),
    ("logits_from", "logits"),
    ("runtime", "runtime"),
    ("preprocessing", "pixels to input"),
    ("twin_unavailable", "why gradients are not available"),
    ("straight_through", "straight-through nodes"),
    ("parity", "agreement of runtime and twin"),
)


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
    """The page as text; nothing of a foreign file in it, figures included, is invisible."""
    from jinja2 import Environment, FunctionLoader

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_template)
    )
    return visible(environment.get_template("report.html.j2").render(_content(store)))


def _template(name: str) -> str:
    return files("robcert.certify.report").joinpath(name).read_text(encoding="utf-8")


def _content(store: ResultStore) -> dict[str, Any]:
    """Content for the template."""
    found = results(store)
    drawn = figures(store, found)
    findings = findings_of(store)
    record = audit_record(store)
    masking, masking_group = latest(found, MaskingSummary)
    named, gates = labelled(store), recorded(store)
    shown = None
    if masking is not None and masking_group is not None:
        shown = masking_view(masking, masking_group, drawn[Place.MASKING], labelled=named)
    return {
        **_header(store),
        "verdict": verdict(findings),
        "cards": cards(findings),
        "gates": gates_table(gates) if gates else None,
        "warnings": _warnings(store, found),
        "sections": _sections(found, named=named),
        "not_available": sorted(record.get("not_available", {}).items()),
        "masking": shown,
        "ledger": violations_table(findings.ledger),
        "ledger_plots": drawn[Place.LEDGER],
        "curves": drawn[Place.CURVES],
        "extremes": drawn[Place.EXTREMES],
        "examples": examples(store, latest(found, AttackSummary)[1]),
        "commands": _commands(store, found, record),
        "groups": _settings(found),
        "standards": standards_tables(store),
    }


def _header(store: ResultStore) -> dict[str, Any]:
    attributes, model, data = store.header, store.model, store.data
    count = len(store.indices)
    return {
        "version": attributes["robcert_version"],
        "created": str(attributes["created"])[:16].replace("T", " ") + " UTC",
        "model": {"name": Path(str(model["file"])).name, "sha8": str(model["sha256"])[:8]},
        "data": {"sha8": str(data["sha256"])[:8]},
        "images": f"{count} of {data['size']} images of {data['name']}",
        "results": store.path.name,
        "facts": [(label, fact(model[key])) for key, label in MODEL_FACTS if known(model.get(key))],
        "notes": list(model.get("notes") or ()),
    }


def _sections(found: Readings, *, named: bool) -> list[Table]:
    """The tables of every result; runs of the same analysis are named by their settings."""
    sections: list[Table] = []
    placed = [reading for reading in found if reading.analysis.section < Section.MASKING]
    for reading in sorted(placed, key=lambda reading: reading.analysis.section):
        several = sum(other.analysis is reading.analysis for other in found) > 1
        for table in reading.tables_for(labelled=named):
            title = f"{table.title} · {reading.group.key}" if several else table.title
            sections.append(Table(title, table.claim, table.header, table.rows, table.note))
    return sections


def _warnings(store: ResultStore, found: Readings) -> list[str]:
    lines = []
    if not labelled(store):
        lines.append(
            "The images carry no labels: margins, attacks and bounds refer to the model's own "
            "prediction (stability, not accuracy)."
        )
    lines += [
        f"{result.group.path} is incomplete: {len(result.group.indices)} of "
        f"{len(store.indices)} images so far."
        for result in found
        if not result.group.complete
    ]
    for reading in found:
        lines += [f"{reading.analysis.title}: {line}" for line in reading.warnings]
    return list(dict.fromkeys(lines))


def _commands(store: ResultStore, found: Readings, record: dict[str, Any]) -> list[str]:
    """The command lines that filled the file, reconstructed if they were not recorded."""
    lines = [str(record["command"])] if record.get("command") else []
    lines += [str(line) for result in found if (line := result.group.attribute("command"))]
    if not lines:
        lines = [f"robcert audit --model {store.model['file']} --data {store.data['name']}"]
    return list(dict.fromkeys(lines))


def _settings(found: Readings) -> list[dict[str, str]]:
    return [
        {
            "path": result.group.path,
            "settings": json.dumps(
                {"seed": result.group.seed, **result.group.settings}, indent=2, sort_keys=True
            ),
        }
        for result in found
    ]
