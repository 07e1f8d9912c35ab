"""One file in a format of choice from a results file."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from robcert.certify.store import ResultStore
from robcert.certify.whole_file import write_whole

from .contents import captioned_tables
from .csv_text import csv_lines
from .latex import latex_tables
from .markdown import markdown_tables
from .parquet import parquet_bytes
from .selection import one_group

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.store import AnalysisGroup


class ExportFormat(StrEnum):
    """What a file holds: tables of summaries, or the rows of one group."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def of_rows(self) -> bool:
        """Whether it holds the rows of one group."""
        return self in (ExportFormat.CSV, ExportFormat.PARQUET)


EXTENSIONS = {
    ExportFormat.MARKDOWN: ".md",
    ExportFormat.LATEX: ".tex",
    ExportFormat.CSV: ".csv",
    ExportFormat.PARQUET: ".parquet",
}


def tables_text(store: ResultStore, form: ExportFormat, name: str | None) -> str:
    """Tables of the groups called ``name``, or of all and the ledger, as Markdown or LaTeX.

    Raises:
        StoreError: there is no group of that name.
    """
    tables = captioned_tables(store, name)
    return latex_tables(tables) if form is ExportFormat.LATEX else markdown_tables(tables)


def write_export(
    results: Path, form: ExportFormat, name: str | None = None, destination: Path | None = None
) -> Path:
    """Write one file from the results file ``results``; nothing is computed again.

    Args:
        results: the results file.
        form: the format.
        name: groups whose summaries or rows are written (see ``groups_named``); None for all
            summaries, or for the rows of the only group.
        destination: the file; None for one beside the results, named after it and the group.

    Returns:
        The path of the file.

    Raises:
        StoreError: the file cannot be read, or has no such group.
        InvalidParameterError: rows are wanted, and there are several groups.
        OutputError: the file cannot be written.
        RobcertError: pyarrow is not installed.
    """
    with ResultStore.read(results) as store:
        group = one_group(store, name, f"--format {form}") if form.of_rows else None
        path = destination or _beside(results, form, group.path if group else name or "")
        write_whole(path, _content(store, form, name, group))
    return path


def _content(
    store: ResultStore, form: ExportFormat, name: str | None, group: AnalysisGroup | None
) -> bytes:
    if group is None:
        return tables_text(store, form, name).encode()
    if form is ExportFormat.PARQUET:
        return parquet_bytes(store, group)
    return "".join(f"{line}\n" for line in csv_lines(store, group)).encode()


def _beside(results: Path, form: ExportFormat, name: str) -> Path:
    """``r.h5`` and ``attack/linf`` make ``r-attack-linf.csv``."""
    ending = name.strip("/").replace("/", "-")
    stem = f"{results.stem}-{ending}" if ending else results.stem
    beside = results.with_name(stem + EXTENSIONS[form])
    return beside if beside != results else results.with_name(results.name + EXTENSIONS[form])
