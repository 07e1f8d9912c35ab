"""`robcert report`: the page of one or of several results files, or tables or rows as a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robcert.certify.errors import InvalidParameterError

from .shell import names
from .shell.echo import echo


class ReportFormat(StrEnum):
    """What is written."""

    HTML = "html"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    PARQUET = "parquet"


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results file of any analysis. Of several, on the same images, one page: models "
            "ranked, and paired differences to the first."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write [default: beside the results file; of several files, "
            "comparison.html beside the first].",
        ),
    ] = None,
    form: Annotated[
        ReportFormat,
        typer.Option(
            "--format",
            help="The page; every summary as Markdown or LaTeX tables (booktabs), each caption "
            "with claim, norm, ε, n and interval; or the rows of --group as CSV or Parquet.",
        ),
    ] = ReportFormat.HTML,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "-g",
            help="These tables only: an analysis such as attack, or a group such as "
            "attack/linf-quick-1a2b3c4d. Not for html.",
            autocompletion=names.groups,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write a self-contained HTML page from results files, or tables or rows of one.

    Nothing is recomputed. Shows certified, estimated, attacked and measured numbers, each
    marked as such.

    Example: robcert report robcert-results/model-1a2b3c4d.h5

    Example: robcert report honest.h5 masked.h5 --out comparison.html

    Example: robcert report results.h5 --format latex --out tables.tex

    Example: robcert report results.h5 --format parquet --group attack
    """
    from robcert.certify.store import ResultStore, ledger

    echo(str(_written(results, out, form, group)))
    for path in results:
        with ResultStore.read(path) as store:
            ledger(store).require_sound()


def _written(results: list[Path], out: Path | None, form: ReportFormat, group: str | None) -> Path:
    """Write the file; its path.

    Raises:
        InvalidParameterError: a group of the page, or another format of several files is wanted.
    """
    if form is not ReportFormat.HTML:
        from robcert.certify.exports import ExportFormat, write_export

        if len(results) > 1:
            message = f"--format {form.value} takes one results file, got {len(results)}"
            hint = "robcert compare --format markdown, latex or csv exports a comparison"
            raise InvalidParameterError(message, hint=hint)
        return write_export(results[0], ExportFormat(form.value), group, out)
    if group is not None:
        message = "--group has no effect on --format html: the page shows all groups"
        raise InvalidParameterError(message, hint="pass another --format, or omit --group")
    from robcert.certify.report import write_comparison, write_report

    return write_report(results[0], out) if len(results) == 1 else write_comparison(results, out)
