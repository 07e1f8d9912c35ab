"""Keys of a configuration file as defaults of options, checked one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from robcert.certify.addresses import is_address
from robcert.certify.core import Norm
from robcert.certify.errors import ConfigurationError, RobcertError

from . import names, values

if TYPE_CHECKING:
    # Typer's own copy of click; importing click would add a dependency.
    from typer._click import Context
    from typer.core import TyperOption

    from .configuration_file import ConfigurationFile

COMMAND_LINE_ONLY = frozenset(
    {"arch", "config", "no-config", "overwrite", "debug", "json", "fail-under", "help"}
)
"""Options that no file sets: code to run, what deletes results, what is about one call."""

GATES = "gates"
"""Key of the texts of `--gate`."""

INPUTS = frozenset({"model", "preprocess", "data-root"})
"""Paths that are read; every other path is written to, and stays in the folder of the file."""

LISTS = frozenset({"mean", "std", "range", "indices"})
"""Options with several values in one text, which a file may write as a list."""

TOGETHER = (
    frozenset({"preprocess", "mean", "std", "range", "layout"}),
    frozenset({"limit", "every", "indices"}),
    frozenset({"only", "skip"}),
)
"""If the command line has one of a group, the file's values of the others do not count."""

_BASELINE = re.compile(r"(\s*regression\s+from\s+)(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a configuration file gives to one command.

    Attributes:
        file: the file.
        typed: value of each option as the command line would have it, by the option's key.
    """

    file: ConfigurationFile
    typed: dict[str, str | list[str] | bool]


def defaults_of(
    file: ConfigurationFile, options: Mapping[str, TyperOption], context: Context
) -> Defaults:
    """The values of ``file``, every one of which is checked.

    Args:
        file: the configuration.
        options: all options that a file may set, by key.
        context: of the command, for checks of values.

    Raises:
        ConfigurationError: a key is unknown, or a value has the wrong type, is not possible, or
            contradicts another.
    """
    typed: dict[str, str | list[str] | bool] = {}
    for written, value in file.table.items():
        key = written.replace("_", "-")
        if key in typed:
            message = f"{file.path}: {key} is written twice, with a dash and with an underscore"
            raise ConfigurationError(message, hint="remove one")
        if key not in options:
            raise _unknown(file, written, key, options)
        reader = _Reader(file, key, options[key])
        typed[key] = reader.typed(value)
        reader.check(typed[key], context)
    _require_agreement(file, typed)
    return Defaults(file, typed)


def key_of(option: TyperOption) -> str:
    """The key of ``option`` in a file: its long spelling without dashes."""
    long = next(name for name in option.opts if name.startswith("--"))
    return GATES if long == "--gate" else long.removeprefix("--")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one value of a file."""

    file: ConfigurationFile
    key: str
    option: TyperOption

    def typed(self, value: object) -> str | list[str] | bool:
        """``value`` as the command line would have it.

        Raises:
            ConfigurationError: it has the wrong type, or is a path to write to outside the folder.
        """
        if self.option.is_flag:
            return value if isinstance(value, bool) else self._wrong("true or false")
        if self.option.multiple:
            entries = value if isinstance(value, list) else [value]
            return [self._place(self._text(entry)) for entry in entries]
        if self.key == "preprocess" and isinstance(value, dict):
            return json.dumps(value, default=str)
        if self.key in LISTS and isinstance(value, list):
            return ",".join(self._text(entry) for entry in value)
        if self.option.type_descriptor.annotation is int:
            whole = isinstance(value, int) and not isinstance(value, bool)
            return str(value) if whole else self._wrong("a whole number")
        return self._place(self._text(value))

    def check(self, typed: str | list[str] | bool, context: Context) -> None:
        """Raise unless the option takes ``typed``.

        Raises:
            ConfigurationError: it does not.
        """
        try:
            self.option.process_value(context, typed)
            if self.key in CHECKS and isinstance(typed, str):
                CHECKS[self.key](typed)
        except typer.TyperException as error:
            text = error.format_message().partition(": ")[2] or error.format_message()
            raise self._error(text.replace("Value error, ", "")) from None
        except RobcertError as error:
            raise self._error(str(error), error.hint) from None

    def _text(self, value: object) -> str:
        if isinstance(value, str):
            return value
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and self.option.type_descriptor.annotation in (str, list[str], float):
            return repr(value)
        return self._wrong("text")

    def _place(self, text: str) -> str:
        """``text`` with a relative path taken from the folder of the file."""
        folder = self.file.folder
        if self.key == GATES and (found := _BASELINE.fullmatch(text)):
            return f"{found[1]}{folder / found[2]}"
        if self.key == "data":
            named = text in names.DATA_SETS or is_address(text)
            return text if named else str(folder / text)
        kind = self.option.type_descriptor
        if not kind.is_path and kind.annotation != list[Path]:
            return text
        if self.key == "preprocess" and text.lstrip().startswith("{"):
            return text
        placed = folder / text
        if self.key not in INPUTS and not placed.resolve().is_relative_to(folder.resolve()):
            why = f"{text!r} leads out of the folder of the file"
            raise self._error(why, f"write a path in it, or pass --{self.key}")
        return str(placed)

    def _wrong(self, wanted: str) -> NoReturn:
        text = f"the value must be {wanted}"
        raise self._error(text)

    def _error(self, text: str, hint: str = "") -> ConfigurationError:
        message = f"{self.file.path}: {self.key}: {text}"
        return ConfigurationError(message, hint=hint)


def _seconds(option: str) -> Callable[[str], object]:
    return lambda text: values.seconds(text, option)


CHECKS: dict[str, Callable[[str], object]] = {
    "time-budget": _seconds("the value"),
    "call-limit": _seconds("the value"),
    "memory-limit": values.size,
    "batch-size": values.batch_size,
    "mean": values.numbers,
    "std": values.numbers,
    "range": values.numbers,
    "indices": values.positions,
}
"""What commands check after Typer, by key."""


def _unknown(
    file: ConfigurationFile, written: str, key: str, options: Mapping[str, TyperOption]
) -> ConfigurationError:
    if key == "arch":
        message = f"{file.path}: arch names code to run, which no file may"
        return ConfigurationError(message, hint="pass --arch on the command line if you trust it")
    if key in COMMAND_LINE_ONLY:
        message = f"{file.path}: {written} is an option of the command line only"
        return ConfigurationError(message, hint=f"remove it, or pass --{key}")
    near = get_close_matches(key, options, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    message = f"{file.path}: there is no key {written!r}"
    return ConfigurationError(message, hint=f"{meant}keys: {', '.join(options)}")


def _require_agreement(
    file: ConfigurationFile, typed: Mapping[str, str | list[str] | bool]
) -> None:
    """Raise if two values contradict each other.

    Raises:
        ConfigurationError: two do, or a distance is not possible in the norm.
    """
    norm = Norm(str(typed.get("norm", Norm.LINF)))
    distances = typed.get("eps", [])
    for distance in distances if isinstance(distances, list) else []:
        try:
            values.epsilon(distance, norm)
        except RobcertError as error:
            message = f"{file.path}: eps: {error}"
            raise ConfigurationError(message, hint=error.hint) from None
    for one, others in (
        ("preprocess", ("mean", "std", "range", "layout")),
        ("indices", ("limit", "every")),
    ):
        both = [key for key in others if key in typed]
        if one in typed and both:
            message = f"{file.path}: {one} and {both[0]} contradict each other"
            raise ConfigurationError(message, hint="remove one of them")
