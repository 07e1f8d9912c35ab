"""The command line as typed, for results files and messages; whether it saved anything."""

from __future__ import annotations

import shlex
from contextvars import ContextVar
from dataclasses import dataclass, field

from robcert.certify.addresses import without_secrets


@dataclass(frozen=True, slots=True)
class Configured:
    """What a command took from a configuration file.

    Attributes:
        file: the file.
        words: by key, the words of the command line that say the same.
    """

    file: str = ""
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What was taken, in one line; empty if nothing was."""
        if not self.words:
            return ""
        said = " ".join(shlex.join(map(without_secrets, words)) for words in self.words.values())
        return f"{self.file} gives: {said}"


_arguments: ContextVar[tuple[str, ...]] = ContextVar("arguments", default=())
_saved: ContextVar[bool] = ContextVar("saved", default=False)
_configured: ContextVar[Configured | None] = ContextVar("configured", default=None)


def remember(arguments: tuple[str, ...]) -> None:
    """Keep the arguments of this invocation, which has saved nothing yet."""
    _arguments.set(arguments)
    _saved.set(False)
    _configured.set(None)


def remember_saved(saved: bool) -> None:
    """Record that some work is ``saved``, if so: the same command continues from there."""
    _saved.set(_saved.get() or saved)


def something_saved() -> bool:
    """Whether :func:`remember_saved` recorded saved work."""
    return _saved.get()


def remember_configured(taken: Configured) -> None:
    """Keep what this invocation takes from a configuration file."""
    _configured.set(taken)


def configured() -> Configured:
    """What this invocation took from a configuration file."""
    return _configured.get() or Configured()


def source_of(key: str) -> str:
    """Where the value of the option with this ``key`` was written, for messages."""
    taken = configured()
    return f"{taken.file}: {key}:" if key in taken.words else f"--{key.removesuffix('s')}"


def command_line() -> str:
    """`robcert` with the arguments of this invocation, those from a configuration file included.

    It says the same without that file. Passwords and signatures of addresses are left out: others
    read the results file.
    """
    return shlex.join(["robcert", *map(without_secrets, _complete(_arguments.get()))])


def continuation() -> str:
    """The command that continues this one: without ``--overwrite``, which would begin again."""
    complete = _complete(_arguments.get())
    return shlex.join(["robcert", *(one for one in complete if one != "--overwrite")])


def _complete(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """``arguments`` with what they took from a file in place of that file."""
    taken = configured()
    if not taken.words:
        return arguments
    typed = list(arguments)
    if "--config" in typed:
        place = typed.index("--config")
        del typed[place : place + 2]
    typed = [word for word in typed if not word.startswith("--config=")]
    return (*typed, "--no-config", *(word for words in taken.words.values() for word in words))
