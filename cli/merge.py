"""`robcert merge`: one results file of several."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .shell.echo import echo, echo_json
from .shell.output_format import JsonFlag


def merge(
    results: Annotated[
        list[Path], typer.Argument(help="Results files of one model, data set, settings and seed.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New results file.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the new results file if there is one.")
    ] = False,
    as_json: JsonFlag = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Join the results files of --shard, or of other parts of one data set.

    Prints what the joined file holds (measured facts). All files must have the same tables: the
    same commands with the same settings and seed. A row that several of them hold must be the same
    in all. The verdict of an audit, and other results of all images at once, are written by the
    same command with the joined file as its --out and without --shard, which computes no row again.

    Example: robcert merge part-1.h5 part-2.h5 --out all.h5
    """
    import robcert.certify.auditing  # noqa: F401  # registers the schemas of all tables
    from robcert.certify.store import merge as merged
    from robcert.certify.tables import Table

    from .shell.render import print_tables

    tables = merged(results, out, overwrite=overwrite)
    if as_json:
        found = {"command": "merge", "results": str(out), "tables": [asdict(one) for one in tables]}
        echo_json(found)
        return
    rows = tuple(
        (one.path.strip("/"), str(one.rows), str(one.repeated), "yes" if one.complete else "no")
        for one in tables
    )
    header = ("table", "rows", "in several files", "complete")
    print_tables([Table(f"{out}, joined from {len(results)} files", "measured", header, rows)])
    if not all(one.complete for one in tables):
        echo("not complete: a table lacks what its command writes when all images have their rows")
    echo(f"to finish: repeat the command of the parts without --shard, with --out {out}")
