"""`robcert report`: the HTML page of a results file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shell.echo import echo


def report(
    results: Annotated[Path, typer.Argument(help="Results file of any analysis.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Page to write [default: beside it, .html].")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write one self-contained HTML page from a results file.

    Nothing is recomputed. Shows certified, estimated, attacked and measured numbers, each
    marked as such.

    Example: robcert report robcert-results/model-1a2b3c4d.h5
    """
    from robcert.certify.report import write_report
    from robcert.certify.store import ResultStore, ledger

    echo(str(write_report(results, out)))
    with ResultStore.read(results) as store:
        ledger(store).require_sound()
