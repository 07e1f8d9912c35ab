"""`robcert report`: the page of one or of several results files, or tables or rows as a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robcert.certify.errors import InvalidParameterError

from .shell import names, values
from .shell.echo import echo


class ReportFormat(StrEnum):
    """What is written."""

    HTML = "html"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        form: of the file.
        group: the tables; None for all.
        epsilons: radii of the page of several files; empty for those of the files.
    """

    form: ReportFormat
    group: str | None
    epsilons: tuple[float, ...]


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
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            help="Radius at which several models are ranked, pixel units of [0, 1], such as 8/255; "
            "further ones get paired differences [default: those of the files].",
        ),
    ] = None,
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

    Example: robcert report honest.h5 masked.h5 --eps 8/255 --out comparison.html

    Example: robcert report results.h5 --format latex --out tables.tex

    Example: robcert report results.h5 --format parquet --group attack
    """
    from robcert.certify.store import ResultStore, ledger

    echo(str(_written(results, out, Wanted(form, group, tuple(map(values.epsilon, eps or ()))))))
    for path in results:
        with ResultStore.read(path) as store:
            ledger(store).require_sound()


def _written(results: list[Path], out: Path | None, wanted: Wanted) -> Path:
    """Write the file; its path.

    Raises:
        InvalidParameterError: a group of the page, another format of several files, or a radius of
            a single file is wanted.
    """
    if wanted.epsilons and (len(results) == 1 or wanted.form is not ReportFormat.HTML):
        message = "--eps is for the page of several results files"
        raise InvalidParameterError(message, hint="omit --eps")
    if wanted.form is not ReportFormat.HTML:
        from robcert.certify.exports import ExportFormat, write_export

        if len(results) > 1:
            message = f"--format {wanted.form.value} takes one results file, got {len(results)}"
            hint = "robcert compare --format markdown, latex or csv exports a comparison"
            raise InvalidParameterError(message, hint=hint)
        return write_export(results[0], ExportFormat(wanted.form.value), wanted.group, out)
    if wanted.group is not None:
        message = "--group has no effect on --format html: the page shows all groups"
        raise InvalidParameterError(message, hint="pass another --format, or omit --group")
    from robcert.certify.report import write_comparison, write_report

    if len(results) == 1:
        return write_report(results[0], out)
    from robcert.certify.comparison import ComparisonSettings

    return write_comparison(results, out, ComparisonSettings(wanted.epsilons))
