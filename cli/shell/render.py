"""Tables and JSON on stdout; nothing is computed here."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

from .echo import echo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from robcert.certify.auditing import AuditVerdict
    from robcert.certify.store import Outcome
    from robcert.certify.tables import Table

COLOURS = {"certified": "green", "estimated": "yellow", "attacked": "red", "measured": "blue"}
TONES = {"good": "green", "warn": "yellow", "bad": "red", "none": "default"}
LEAST_WIDTH = 100
"""Width in characters if stdout is a file or a pipe."""


def print_warning(line: str) -> None:
    """Print a warning on stderr, with --quiet too."""
    echo(f"warning: {visible_line(line)}", err=True)


def print_json(outcome: Outcome) -> None:
    """Print the outcome as one JSON object."""
    echo(json.dumps(outcome.to_json(), indent=2, ensure_ascii=False))


def print_tables(found: Iterable[Table]) -> None:
    """Print tables with their claim in the title and notes below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    console = _console()
    for table in found:
        title = Text(visible_line(table.title), style="bold")
        if table.claim:
            title.append(f"  [{table.claim}]", style=COLOURS[table.claim])
        console.print(title)
        grid = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in table.header:
            grid.add_column(Text(visible_line(name)), overflow="fold")
        for row in table.rows:
            grid.add_row(
                *(
                    Text(visible_line(cell), style="red" if cell == "FLAGGED" else "")
                    for cell in row
                )
            )
        console.print(grid)
        if table.note:
            console.print(Text(visible_line(table.note), style="dim"))
        console.print()


def print_verdict(verdict: AuditVerdict, *, name: str = "") -> None:
    """Print the headline and the sentences of a verdict."""
    from rich.text import Text

    console = _console()
    prefix = f"{name}: " if name else ""
    whole_lines = not sys.stdout.isatty()  # for grep and for logs
    headline = Text(
        visible_line(f"{prefix}{verdict.headline}"), style=f"bold {TONES[verdict.tone]}"
    )
    console.print(headline, soft_wrap=whole_lines)
    for sentence in verdict.sentences:
        console.print(Text(visible_line(f"  {sentence}")), soft_wrap=whole_lines)
    console.print()


def _console() -> Console:
    from rich.console import Console as RichConsole

    width = None if sys.stdout.isatty() else LEAST_WIDTH
    return RichConsole(highlight=False, width=width, soft_wrap=False)
