"""`robcert.toml`, or `[tool.robcert]` of pyproject.toml: where it lies, and what it says."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robcert.certify.errors import ConfigurationError

NAME, PROJECT = "robcert.toml", "pyproject.toml"

MOST_BYTES = 1 << 20
"""A larger file is not read."""


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A configuration.

    Attributes:
        path: the file, relative to the working directory if it lies there.
        table: its keys, as written.
    """

    path: Path
    table: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.path.parent


def found_upwards(start: Path) -> ConfigurationFile | None:
    """The configuration of ``start`` or of the nearest folder above; None if there is none.

    The search ends with the folder of a repository, so that no file outside it counts. In one
    folder robcert.toml comes before pyproject.toml, which counts only with a table [tool.robcert].

    Raises:
        ConfigurationError: the file cannot be read, or lies above and belongs to a stranger.
    """
    for folder in (start, *start.parents):
        base = Path() if folder == start else folder
        if (folder / NAME).is_file():
            _require_no_stranger(folder / NAME, start)
            return read_configuration(base / NAME)
        if (folder / PROJECT).is_file():
            table = _project_table(_content(base / PROJECT))
            if table is not None:
                _require_no_stranger(folder / PROJECT, start)
                return ConfigurationFile(base / PROJECT, _as_table(base / PROJECT, table))
        if (folder / ".git").exists():
            return None
    return None


def _require_no_stranger(path: Path, start: Path) -> None:
    """Raise if ``path`` lies above ``start`` and another user wrote it, as all users can in /tmp.

    It names files to be written. Those of root and of the owner of ``start`` are trusted too.
    """
    if path.parent == start or not hasattr(os, "getuid"):
        return
    if owner(path) not in (0, os.getuid(), owner(start)):
        message = f"{path} belongs to another user"
        raise ConfigurationError(message, hint="pass --no-config, or --config if you trust it")


def owner(path: Path) -> int:
    """Number of the user that ``path`` belongs to."""
    return path.stat().st_uid


def read_configuration(path: Path) -> ConfigurationFile:
    """The configuration in ``path``: the whole file, or [tool.robcert] of a pyproject.toml.

    Raises:
        ConfigurationError: the file cannot be read, or is a pyproject.toml without that table.
    """
    content = _content(path)
    if path.name != PROJECT:
        return ConfigurationFile(path, content)
    table = _project_table(content)
    if table is None:
        message = f"{path} has no table [tool.robcert]"
        raise ConfigurationError(message, hint="robcert init writes robcert.toml")
    return ConfigurationFile(path, _as_table(path, table))


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():  # a pipe would block, a folder cannot be read
        message = f"{path} is not a file" if path.exists() else f"{path} does not exist"
        raise ConfigurationError(message, hint="robcert init writes robcert.toml")
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            message = f"{path} is larger than {MOST_BYTES >> 20} MiB"
            raise ConfigurationError(message)
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        why = "it nests too deep" if isinstance(error, RecursionError) else str(error)
        message = f"{path} is not TOML: {why}"
        raise ConfigurationError(message, hint="correct it, or pass --no-config") from None


def _project_table(content: dict[str, Any]) -> object:
    tools = content.get("tool")
    return tools.get("robcert") if isinstance(tools, dict) else None


def _as_table(path: Path, table: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        message = f"{path}: tool.robcert is not a table"
        raise ConfigurationError(message, hint="write [tool.robcert]")
    return table
