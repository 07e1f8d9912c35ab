"""What a command that reads results files prints: tables, CSV, JSON, Markdown or LaTeX."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from robcert.certify.errors import InvalidParameterError

from .old_spellings import note_new_spelling, old_option
from .options import OutputOptions


class OutputFormat(StrEnum):
    """What is printed on stdout."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"
    LATEX = "latex"


JsonFlag = Annotated[bool, typer.Option("--json", help="Same as --format json.")]
OldCsv = Annotated[bool, old_option("--csv", new="--format csv")]


def output_format(typed: OutputFormat, *, as_json: bool, as_csv: bool) -> OutputFormat:
    """The format that `--format`, `--json` or the old `--csv` names.

    Raises:
        InvalidParameterError: they name different formats.
    """
    if as_csv:
        note_new_spelling(OutputOptions(), "--csv", "--format csv")
    said = {
        f"--format {typed}": None if typed is OutputFormat.TABLE else typed,  # the default
        "--json": OutputFormat.JSON if as_json else None,
        "--csv": OutputFormat.CSV if as_csv else None,
    }
    said = {option: found for option, found in said.items() if found}
    if len(set(said.values())) > 1:
        message = f"{' and '.join(said)} cannot be combined: one format is printed"
        raise InvalidParameterError(message)
    return next((found for found in said.values() if found), OutputFormat.TABLE)
