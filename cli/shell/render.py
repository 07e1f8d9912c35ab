"""Tables and JSON on stdout; nothing is computed here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

from .columns import least_room, parts_of, whole_room
from .echo import echo, echo_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from robcert.certify.auditing import AuditVerdict
    from robcert.certify.store import Outcome
    from robcert.certify.tables import Table

COLOURS = {"certified": "green", "estimated": "yellow", "attacked": "red", "measured": "blue"}
TONES = {"good": "green", "warn": "yellow", "bad": "red", "none": "default"}
LEAST_WIDTH, MOST_WIDTH = 100, 140
"""Width in characters if stdout is a file or a pipe; a table of up to the second is not folded."""


def print_warning(line: str) -> None:
    """Print a warning on stderr, with --quiet too."""
    echo(f"warning: {line}", err=True)


def print_json(outcome: Outcome) -> None:
    """Print the outcome as one JSON object."""
    echo_json(outcome.to_json())


def print_tables(found: Iterable[Table]) -> None:
    """Print tables with their claim in the title and notes below.

    One that is too wide for the terminal is printed in parts, each with its first column.
    """
    from rich.text import Text

    console = _console()
    for table in found:
        title = Text(visible_line(table.title), style="bold")
        if table.claim:
            title.append(f"  [{table.claim}]", style=COLOURS[table.claim])
        console.print(title)
        _print_grid(table)
        if table.note:
            console.print(Text(visible_line(table.note), style="dim"))
        console.print()


def _print_grid(table: Table) -> None:
    """Print header and rows; a file or pipe gets one part however wide it is."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    header, *rows = [tuple(map(visible_line, row)) for row in (table.header, *table.rows)]
    console = _console()
    if not sys.stdout.isatty():
        console = _console(_pipe_width([header, *rows]))
    for place, part in enumerate(parts_of([header, *rows], console.width)):
        if place:
            console.print()
        grid = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for number, width in zip(part.columns, part.widths, strict=True):
            grid.add_column(Text(header[number]), overflow="fold", width=width)
        for row in rows:
            cells = (row[number] for number in part.columns)
            grid.add_row(*(Text(c, style="red" if c == "FLAGGED" else "") for c in cells))
        console.print(grid)


def _pipe_width(rows: Sequence[Sequence[str]]) -> int:
    """Width of a table in a file or pipe, where it has one part."""
    whole = whole_room(rows)
    return max(LEAST_WIDTH, whole if whole <= MOST_WIDTH else least_room(rows))


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


def _console(wide: int = LEAST_WIDTH) -> Console:
    """The terminal; a file or pipe of ``wide`` characters."""
    from rich.console import Console as RichConsole

    width = None if sys.stdout.isatty() else wide
    return RichConsole(highlight=False, width=width, soft_wrap=False)
