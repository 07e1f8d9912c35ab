"""`robcert init`: a configuration file for this folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.visible import visible_line

from .initial_configuration import GUESSED, Search, require_new, text_of
from .shell import names
from .shell.echo import echo, echo_text

if TYPE_CHECKING:
    from collections.abc import Sequence


def init(
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Model file [default: that of the folder]."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help="Images: a name, a file or a folder [default: those of the folder that fit].",
            autocompletion=names.completing(names.DATA_SETS),
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("robcert.toml"),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; guesses are marked in the file.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write robcert.toml, the defaults of options and the gates of this folder.

    Finds the model and images that fit it, asks what it cannot find out, and writes measured and
    guessed values, the latter marked. Without a terminal it asks nothing.

    Example: robcert init --model model.onnx --data images.npz
    """
    from robcert.certify.whole_file import write_whole

    require_new(out, overwrite=overwrite)
    asked = not yes and sys.stdin.isatty() and sys.stderr.isatty()
    entries = Search(out.parent, model, data, _ask if asked else None).proposal()
    text = text_of(entries)
    write_whole(out, text.encode())
    echo_text(text)
    echo(f"written: {out}")
    unknown = [entry.key for entry in entries if entry.value is None]
    guessed = [entry.key for entry in entries if entry.comment.startswith(GUESSED)]
    for said, keys in (("to fill in", unknown), ("guessed, to be checked", guessed)):
        if keys:
            echo(f"{said}: {', '.join(keys)}", err=True)


def _ask(question: str, choices: Sequence[str]) -> str:
    """One of ``choices``, by its number; the first by default."""
    for number, choice in enumerate(choices, 1):
        echo(f"  {number}  {choice}", err=True)
    asked = visible_line(question)
    while True:
        answer = typer.prompt(f"{asked}? Number", default="1", err=True)
        if answer.isdecimal() and 1 <= int(answer) <= len(choices):
            return choices[int(answer) - 1]
        echo(f"a number from 1 to {len(choices)}", err=True)
