"""The files of an outcome: the page, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from robcert.certify.exports import CaptionedTable, latex_tables
from robcert.certify.report import rendered
from robcert.certify.tables import Table
from robcert.certify.whole_file import write_whole

from .pictures import pictures
from .plan import analysis_commands, train_command
from .scale import BATCHES, MINIMA

if TYPE_CHECKING:
    from pathlib import Path

    from .outcome import Outcome

PAGE = "index.html"

KINDS = {
    "certified": "certified: holds for the smoothed classifier, with the stated probability",
    "estimated": "estimated: from a sample or a search, without guarantee",
    "attacked": "attacked: adversarial images were found and re-checked; stronger attacks may find "
    "more, so that accuracy can only be lower",
    "measured": "measured: a plain fact about these images",
}


def write_outcome(outcome: Outcome) -> Path:
    """Write page, CSV and LaTeX of ``outcome`` into its folder; the path of the page.

    Raises:
        OutputError: one cannot be written.
    """
    request = outcome.request
    stem = request.out / request.item.name
    write_whole(stem.with_name(f"{stem.name}.csv"), _csv(outcome).encode())
    write_whole(stem.with_name(f"{stem.name}.tex"), _latex(outcome).encode())
    page = request.out / PAGE
    write_whole(page, render(outcome).encode())
    return page


def render(outcome: Outcome) -> str:
    """The page of ``outcome`` as text."""
    request = outcome.request
    item = request.item
    jobs = [
        {
            "name": job.name,
            "train": train_command(request, job),
            "analyses": list(analysis_commands(request, job, outcome.images)),
            "failed": known.failed,
        }
        for job, known in outcome.work
    ]
    content: dict[str, Any] = {
        "version": version("robcert"),
        "item": item,
        "request": request,
        "outcome": outcome,
        "images": len(outcome.images.indices),
        "table": replace(outcome.table(), note=outcome.unit),
        "differences": outcome.differences() if outcome.compares else None,
        "pictures": pictures(outcome),
        "shrunk": _shrunk(outcome),
        "minima": MINIMA,
        "batches": BATCHES,
        "kinds": [KINDS[kind] for kind in KINDS if kind in {c.claim for c in item.columns}],
        "jobs": jobs,
        "notes": [f"{row.name}: {row.note}" for row in item.rows if row.note],
    }
    return rendered("item.html.j2", content, package="robcert.reproduction")


def _shrunk(outcome: Outcome) -> Table | None:
    found = outcome.shrunk
    if not found:
        return None
    rows = tuple((one.quantity, one.where, one.paper, one.ours) for one in found)
    return Table("What was shrunk", "", ("quantity", "where", "paper", "here"), rows)


def _csv(outcome: Outcome) -> str:
    """One line per number, as plain numbers; a field is empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ("row", "quantity", "kind", "published", "ours", "lower", "upper")
    writer.writerow((*header, "difference", "difference lower", "difference upper"))
    for cell in (cell for cells in outcome.cells for cell in cells if cell.row.model):
        ours = cell.ours
        mine = (None,) * 3 if ours is None else (ours.value, ours.lower, ours.upper)
        difference = (cell.difference, *(cell.difference_limits or (None, None)))
        names = (cell.row.name, cell.column.title, cell.column.claim)
        numbers = (cell.published, *mine, *difference)
        writer.writerow((*names, *("" if one is None else f"{one:.6g}" for one in numbers)))
    return text.getvalue()


def _latex(outcome: Outcome) -> str:
    item, request = outcome.request.item, outcome.request
    count, factor = len(outcome.images.indices), request.scale.factor
    where = f"{item.source}. {request.source}, {count} images, scale {factor:g}"
    seeds = "1 seed" if request.seeds == 1 else f"{request.seeds} seeds"
    tables = (outcome.table(), outcome.differences())
    return latex_tables(
        CaptionedTable(table, f"{item.title}. {where}, {seeds}.", f"{item.name}-{place}")
        for place, table in enumerate(tables, 1)
    )
