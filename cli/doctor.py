"""`robcert doctor`: the environment, tests against known answers, damaged results files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robcert.certify.errors import InvalidParameterError

from .shell.echo import echo


def doctor(
    results: Annotated[
        Path | None,
        typer.Argument(help="Results file to examine, in place of the environment."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="New file for what is whole in the results file."),
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Run the analyses on models with known answers."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show versions, devices and bundled files, or what is whole in a damaged results file.

    Prints measured facts; with --self-test also the expected and the computed value of quantities
    of every kind. Exits with 1 if something is missing, wrong or damaged.

    Example: robcert doctor --self-test

    Example: robcert doctor damaged.h5 --out saved.h5
    """
    if results is not None:
        good = _examined(results, out, self_test=self_test)
    elif out is None:
        good = _environment()
        if self_test:
            good = _self_test() and good
    else:
        message = "--out saves what is whole in a results file: name the file"
        raise InvalidParameterError(message, hint="robcert doctor damaged.h5 --out saved.h5")
    if not good:
        raise typer.Exit(1)


def _environment() -> bool:
    from robcert.certify.tables import Table

    from .environment import environment
    from .shell.render import print_tables

    found = environment()
    rows = tuple((fact.name, fact.value, "ok" if fact.good else "PROBLEM") for fact in found)
    print_tables([Table("environment", "measured", ("fact", "value", ""), rows)])
    return all(fact.good for fact in found)


def _examined(results: Path, out: Path | None, *, self_test: bool) -> bool:
    if self_test:
        message = "--self-test examines robcert, not a results file"
        raise InvalidParameterError(message, hint="leave out the file or --self-test")
    import robcert.certify.auditing  # noqa: F401  # registers the schemas of all tables
    from robcert.certify.store import examine, shown
    from robcert.certify.tables import Table

    from .shell.render import print_tables

    found = examine(results, out)
    rows = tuple(
        (table.place.strip("/"), str(table.whole), str(table.finished), found.fault_of(table))
        for table in found.tables
    )
    header = ("table", "whole", "finished", "damaged at")
    print_tables([Table(f"rows of {results}", "measured", header, rows)])
    for line in (found.header, *map(shown, found.elsewhere)):
        if line:
            echo(f"damaged: {line}")
    if found.whole:
        echo("nothing is damaged")
    if out is not None:
        echo(f"saved: {sum(table.whole for table in found.tables)} rows in {out}")
    return found.whole


def _self_test() -> bool:
    from robcert.certify.tables import Table, decimal
    from robcert.fixtures.self_test import self_test

    from .shell.progress import TerminalProgress
    from .shell.render import print_tables

    with TerminalProgress() as progress:
        checks = self_test(progress=progress)
    rows = tuple(
        (
            check.model,
            check.quantity,
            decimal(check.expected, 5),
            decimal(check.got, 5),
            f"{decimal(check.lower, 5)} to {decimal(check.upper, 5)}",
            "ok" if check.passed else "WRONG",
        )
        for check in checks
    )
    header = ("model", "quantity", "expected", "got", "allowed", "")
    print_tables([Table("known answers", "", header, rows)])
    return all(check.passed for check in checks)
