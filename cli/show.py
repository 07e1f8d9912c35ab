"""`robcert show`: the content of a results file as tables, CSV or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.errors import InvalidParameterError

from .shell import names
from .shell.echo import echo
from .shell.output_format import JsonFlag, OldCsv, OutputFormat, output_format

if TYPE_CHECKING:
    from robcert.certify.store import AnalysisGroup, ResultStore


def show(
    results: Annotated[Path, typer.Argument(help="Results file of any analysis.")],
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "-g",
            help="Show one group only, such as attack/linf-quick-1a2b3c4d.",
            autocompletion=names.groups,
        ),
    ] = None,
    form: Annotated[
        OutputFormat,
        typer.Option(
            "--format",
            help="Print tables, the rows of --group as CSV (one line per image, every "
            "column but images), or one JSON object.",
        ),
    ] = OutputFormat.TABLE,
    as_json: JsonFlag = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    as_csv: OldCsv = False,
) -> None:
    """Print or export what a results file holds.

    Nothing is computed again. Every table says what it claims: certified, estimated, attacked or
    measured.

    Example: robcert show results.h5 --group attack/linf-quick-1a2b3c4d --format csv > attack.csv
    """
    import robcert.certify.auditing  # noqa: F401  # registers the schemas of all tables
    from robcert.certify.store import ResultStore

    printed = output_format(form, as_json=as_json, as_csv=as_csv)
    with ResultStore.read(results) as store:
        if printed is OutputFormat.CSV:
            _print_csv(store, group)
        elif printed is OutputFormat.JSON:
            _print_json(store, group)
        else:
            _print_tables(store, group)


def _print_csv(store: ResultStore, path: str | None) -> None:
    """Rows of the group at ``path``, or of the only group there is."""
    from robcert.certify.report import csv_lines

    for line in csv_lines(store, store.at(path) if path else _only_group(store)):
        echo(line)


def _only_group(store: ResultStore) -> AnalysisGroup:
    from robcert.certify.report import groups

    found = groups(store)
    if len(found) == 1:
        return found[0]
    message = f"{store.path} holds {len(found)} groups; --format csv prints one"
    names = ", ".join(group.path.strip("/") for group in found)
    raise InvalidParameterError(message, hint=f"pass --group, one of: {names}")


def _print_json(store: ResultStore, path: str | None) -> None:
    import json

    from robcert.certify.report import store_json
    from robcert.certify.store import ledger

    echo(json.dumps(store_json(store, path), indent=2, ensure_ascii=False))
    ledger(store).require_sound()


def _print_tables(store: ResultStore, path: str | None) -> None:
    from robcert.certify.auditing import labelled, results, verdict_of, violations_table
    from robcert.certify.gates import gates_table, recorded
    from robcert.certify.report import columns_table, overview
    from robcert.certify.store import ledger

    from .shell.render import print_tables, print_verdict

    if path:
        print_tables([columns_table(store.at(path))])
        wanted = store.at(path).path
    else:
        print_tables(overview(store))
        wanted = ""
    for result in results(store):
        if not wanted or result.group.path == wanted:
            print_tables(result.tables_for(labelled=labelled(store)))
    violations = ledger(store)
    if not wanted:
        print_tables([violations_table(violations)])
        print_verdict(verdict_of(store))
        gates = recorded(store)
        print_tables([gates_table(gates)] if gates else [])
    violations.require_sound()
