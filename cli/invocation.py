"""The command line as it was typed, for results files and messages."""

from __future__ import annotations

import shlex
from contextvars import ContextVar

_arguments: ContextVar[tuple[str, ...]] = ContextVar("arguments", default=())


def remember(arguments: tuple[str, ...]) -> None:
    """Keep the arguments of this invocation."""
    _arguments.set(arguments)


def command_line() -> str:
    """`robcert` with the arguments that :func:`remember` was told."""
    return shlex.join(["robcert", *_arguments.get()])
