"""The folder of a reproduction: what it is for, and what is finished in it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from robcert.certify.errors import OutputError, StoreError
from robcert.certify.file_lock import FileLock
from robcert.certify.json_text import parsed_json
from robcert.certify.whole_file import output_errors, write_whole

from .measured import Measured
from .plan import numbers_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .plan import ModelRun
    from .request import ReproductionRequest

SETTINGS = "settings.json"


@dataclass(slots=True)
class Progress:
    """What is known of one training.

    Attributes:
        analyses: what each finished analysis gave, by name.
        warnings: limitations that training and analyses named.
        failed: why the training gave no network; empty if it did, or is not finished.
    """

    analyses: dict[str, Measured] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        done = {name: one.to_json() for name, one in self.analyses.items()}
        return {"analyses": done, "warnings": self.warnings, "failed": self.failed}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        done = {name: Measured.from_json(one) for name, one in values["analyses"].items()}
        return cls(done, [str(line) for line in values["warnings"]], str(values["failed"]))


@contextlib.contextmanager
def held_folder(request: ReproductionRequest) -> Iterator[None]:
    """The folder of ``request``, made if it is new, closed to others.

    Raises:
        OutputError: it is not a folder, holds something else, or cannot be written.
        StoreError: it holds another reproduction, or another process writes it.
    """
    out = request.out
    if out.exists() and not out.is_dir():
        message = f"{out} is a file, not a folder"
        raise OutputError(message, hint="name another folder: --out")
    with output_errors(out):
        _require_same(request)
        out.resolve().parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out.resolve(), StoreError)
    try:
        text = json.dumps(request.settings(), indent=2) + "\n"
        write_whole(out / SETTINGS, text.encode())
        yield
    finally:
        lock.release()


def _require_same(request: ReproductionRequest) -> None:
    out = request.out
    file = out / SETTINGS
    if not file.is_file():
        if out.is_dir() and any(out.iterdir()):
            message = f"{out} contains files, but no reproduction"
            raise OutputError(message, hint="name another folder: --out")
        return
    saved, asked = _read(file), request.settings()
    for name in asked:
        if saved.get(name) != asked[name]:
            message = f"{out} holds a reproduction with {name} {saved.get(name)}, not {asked[name]}"
            raise StoreError(message, hint="name another folder: --out")


def saved_progress(request: ReproductionRequest, job: ModelRun) -> Progress:
    """What is known of ``job``.

    Raises:
        StoreError: its file was changed.
    """
    file = numbers_file(request, job)
    if not file.is_file():
        return Progress()
    try:
        return Progress.from_json(_read(file))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _changed(file) from error


def save_progress(request: ReproductionRequest, job: ModelRun, progress: Progress) -> None:
    """Write what is known of ``job``, completely or not at all."""
    text = json.dumps(progress.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_whole(numbers_file(request, job), text.encode())


def _read(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``.

    Raises:
        StoreError: it holds none.
    """
    try:
        values = parsed_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _changed(file) from error
    if not isinstance(values, dict):
        raise _changed(file)
    return values


def _changed(file: Path) -> StoreError:
    message = f"{file} was changed or is damaged"
    return StoreError(message, hint="delete it: its numbers are read from the results file again")
