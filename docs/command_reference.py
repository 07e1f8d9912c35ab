"""The command reference, made from the help texts themselves."""

from __future__ import annotations

from typing import Any

import typer

WIDTH = 88

INTRODUCTION = """\
# Command reference

Made from `robcert --help` by `python docs/make.py`; a test compares the two.

stdout carries the result, stderr progress, notes and errors. Exit status: 0 done; 1 done, but a
check that was asked for failed (`--strict`, `--fail-under`, `doctor`); 2 bad usage or input, one
line `error: …` and where useful `hint: …`; 130 interrupted, with everything finished saved. The
same command again goes on where it stopped.
"""


def reference() -> str:
    """Markdown with the help of every command."""
    from robcert.cli.main import app

    root = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for name, command in _commands(root, "robcert"):
        parts.append(f"## {name}\n\n```\n{_help(command, name)}\n```\n")
    return "\n".join(parts)


def _commands(command: Any, name: str) -> list[tuple[str, Any]]:
    found = [(name, command)]
    for part, child in getattr(command, "commands", {}).items():
        found += _commands(child, f"{name} {part}")
    return found


def _help(command: Any, name: str) -> str:
    context = command.context_class(command, info_name=name, terminal_width=WIDTH)
    lines = command.get_help(context).rstrip().splitlines()
    return "\n".join(line.rstrip() for line in lines)
