"""`robcert show`: the content of a results file as tables, CSV, JSON, Markdown or LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shell import names
from .shell.echo import echo, echo_json, echo_text
from .shell.output_format import JsonFlag, OldCsv, OutputFormat, output_format

if TYPE_CHECKING:
    from robcert.certify.store import ResultStore


def show(
    results: Annotated[Path, typer.Argument(help="Results file of any analysis.")],
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "-g",
            help="Show these groups only: an analysis such as attack, or one group such as "
            "attack/linf-quick-1a2b3c4d.",
            autocompletion=names.groups,
        ),
    ] = None,
    form: Annotated[
        OutputFormat,
        typer.Option(
            "--format",
            help="Print tables, the rows of --group as CSV (one line per image, every "
            "column but images), one JSON object, or the tables as Markdown or LaTeX.",
        ),
    ] = OutputFormat.TABLE,
    as_json: JsonFlag = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    as_csv: OldCsv = False,
) -> None:
    """Print or export what a results file holds.

    Nothing is computed again. Every table says what it claims: certified, estimated, attacked or
    measured.

    Example: robcert show results.h5 --group attack --format csv > attack.csv
    """
    import robcert.certify.auditing  # noqa: F401  # registers the schemas of all tables
    from robcert.certify.store import ResultStore

    printed = output_format(form, as_json=as_json, as_csv=as_csv)
    with ResultStore.read(results) as store:
        if printed is OutputFormat.TABLE:
            _print_tables(store, group)
        else:
            _print_text(store, group, printed)


def _print_text(store: ResultStore, name: str | None, form: OutputFormat) -> None:
    """The groups called ``name`` in the format ``form``; CSV prints the rows of one."""
    from robcert.certify.exports import (
        ExportFormat,
        csv_lines,
        one_group,
        store_json,
        tables_text,
    )
    from robcert.certify.store import ledger

    if form is OutputFormat.CSV:
        for line in csv_lines(store, one_group(store, name, "--format csv")):
            echo(line)
        return
    if form is OutputFormat.JSON:
        echo_json(store_json(store, name))
    else:
        echo_text(tables_text(store, ExportFormat(form.value), name).rstrip())
    ledger(store).require_sound()


def _print_tables(store: ResultStore, name: str | None) -> None:
    from robcert.certify.auditing import labelled, results, verdict_of, violations_table
    from robcert.certify.exports import columns_table, groups_named, overview
    from robcert.certify.gates import gates_table, recorded
    from robcert.certify.store import ledger

    from .shell.render import print_tables, print_verdict

    wanted = groups_named(store, name) if name else []
    print_tables([columns_table(group) for group in wanted] if name else overview(store))
    paths = {group.path for group in wanted}
    for result in results(store):
        if not name or result.group.path in paths:
            print_tables(result.tables_for(labelled=labelled(store)))
    violations = ledger(store)
    if not name:
        print_tables([violations_table(violations)])
        print_verdict(verdict_of(store))
        gates = recorded(store)
        print_tables([gates_table(gates)] if gates else [])
    violations.require_sound()
