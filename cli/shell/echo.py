"""Lines on stdout and stderr; whatever a foreign file put into them is visible text."""

from __future__ import annotations

import typer

from robcert.certify.visible import visible


def echo(line: str, *, err: bool = False) -> None:
    """Print one line, or several, on stdout or stderr."""
    typer.echo(visible(line), err=err)
