"""The command line as typed, for results files and messages; whether it saved anything."""

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
    """Record that some work is ``saved``, if so: the same command continues from there."""
    _saved.set(_saved.get() or saved)


def something_saved() -> bool:
    """Whether :func:`remember_saved` recorded saved work."""
    return _saved.get()


def command_line() -> str:
    """`robcert` with the arguments that :func:`remember` recorded."""
    return shlex.join(["robcert", *_arguments.get()])


def continuation() -> str:
    """The command that continues this one: without ``--overwrite``, which would begin again."""
    return shlex.join(["robcert", *(one for one in _arguments.get() if one != "--overwrite")])
