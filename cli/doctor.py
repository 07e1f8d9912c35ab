"""`robcert doctor`: the environment that robcert runs in, and tests against known answers."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Run the analyses on models with known answers."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show versions, devices and bundled files; test the numbers on request.

    Prints measured facts; with --self-test also the expected and the computed value of quantities
    of every kind. Exits with 1 if something is missing or wrong.

    Example: robcert doctor --self-test
    """
    from robcert.certify.tables import Table

    from .environment import environment
    from .shell.render import print_tables

    found = environment()
    rows = tuple((fact.name, fact.value, "ok" if fact.good else "PROBLEM") for fact in found)
    print_tables([Table("environment", "measured", ("fact", "value", ""), rows)])
    good = all(fact.good for fact in found)
    if self_test:
        good = _self_test() and good
    if not good:
        raise typer.Exit(1)


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
