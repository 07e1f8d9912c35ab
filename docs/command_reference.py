"""The command reference, generated from the help texts."""

from __future__ import annotations

from typing import Any

import typer

WIDTH = 88

INTRODUCTION = """\
# Command reference

Generated from `robcert --help` by `python docs/make.py`; a test compares the two.

Results are printed on stdout; progress, notes and errors on stderr. Exit status: 0 done; 1 done,
but a requested check failed (`--gate`, `--strict`, `--fail-under`, `--property`, `doctor`); 2 bad
usage or input, with one line `error: …` and, where useful, `hint: …`; 130 interrupted, with all
finished work saved. Run the same command again to continue after an interruption.
"""


def reference() -> str:
    """Markdown with the help of every command."""
    from robcert.cli.main import app

    root = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for name, command in _commands(root, "robcert"):
        parts.append(f"## {name}\n\n```\n{_help(command, name)}\n```\n")
    return "\n".join(parts)


PLAN = "robcert plan"
"""Its commands have the options of the commands that they plan."""


def _commands(command: Any, name: str) -> list[tuple[str, Any]]:
    found = [(name, command)]
    if name == PLAN:
        return found
    for part, child in getattr(command, "commands", {}).items():
        found += _commands(child, f"{name} {part}")
    return found


def _help(command: Any, name: str) -> str:
    context = command.context_class(command, info_name=name, terminal_width=WIDTH)
    lines = command.get_help(context).rstrip().splitlines()
    return "\n".join(line.rstrip() for line in lines)
