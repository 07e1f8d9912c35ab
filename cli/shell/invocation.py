"""The command line as it was typed, for results files and messages; whether it saved anything."""

from __future__ import annotations

import shlex
from contextvars import ContextVar

_arguments: ContextVar[tuple[str, ...]] = ContextVar("arguments", default=())
_saved: ContextVar[bool] = ContextVar("saved", default=False)


def remember(arguments: tuple[str, ...]) -> None:
    """Keep the arguments of this invocation, which has saved nothing yet."""
    _arguments.set(arguments)
    _saved.set(False)


def remember_saved(saved: bool) -> None:
    """Keep that some of the work is ``saved``, if it is: the same command goes on from there."""
    _saved.set(_saved.get() or saved)


def something_saved() -> bool:
    """Whether :func:`remember_saved` was told so."""
    return _saved.get()


def command_line() -> str:
    """`robcert` with the arguments that :func:`remember` was told."""
    return shlex.join(["robcert", *_arguments.get()])
