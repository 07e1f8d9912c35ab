"""Text on stdout and stderr; whatever a foreign file put into it is visible text."""

from __future__ import annotations

import json

import typer

from robcert.certify.visible import visible, visible_line


def echo(line: str, *, err: bool = False) -> None:
    """Print one line on stdout or stderr; a line end in a name does not make it two."""
    typer.echo(visible_line(line), err=err)


def echo_text(text: str, *, err: bool = False) -> None:
    """Print text of several lines, in which names of others are one line each."""
    typer.echo(visible(text), err=err)


def echo_json(content: object) -> None:
    """Print ``content``, in JSON's types, on stdout."""
    echo_text(json.dumps(content, indent=2, ensure_ascii=False))
