"""Spellings of version 0.1: hidden options that still work in 0.2, with a note of the new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from .session import note

if TYPE_CHECKING:
    from .options import OutputOptions


def old_option(name: str, *, new: str) -> Any:
    """Option ``name`` that the help does not list; its own help names the ``new`` spelling."""
    return typer.Option(name, hidden=True, help=f"Old spelling of {new}.")


def note_new_spelling(options: OutputOptions, old: str, new: str) -> None:
    """Note on stderr, unless `--quiet`, that ``old`` is now written as ``new``."""
    note(options, f"{old} is now {new}")
