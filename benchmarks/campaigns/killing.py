"""A command that is killed with SIGKILL while it writes, and the files that it leaves.

A command runs in a forked child of this process, which has imported everything, or as a program of
its own. Moments are chosen by time, or by the changes that are seen in the folder it writes to, so
that many kills come in the middle of writing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from robcert.certify.hdf5 import CHECKSUM
from robcert.cli.main import main

if TYPE_CHECKING:
    import random
    from pathlib import Path

PAUSE = 0.0002
"""Seconds between two looks at the folder."""

AFTER_CHANGE = 0.003
"""Kills come at most so many seconds after a change of the folder."""

BY_CHANGE = 0.75
"""Share of the kills whose moment is chosen by changes of the folder."""

NOT_STARTED = 70
"""Exit status of a child that did not come as far as robcert's own."""

PRELOADED = (
    "onnx",
    "onnxruntime",
    "robcert.certify.auditing.analysis",
    "robcert.certify.data.load",
    "robcert.certify.landscape",
    "robcert.cli.main",
    "robcert.trainers.export",
    "robcert.trainers.train",
    "onnxscript",
    "matplotlib.figure",
)
"""Modules that a fork need not import, which takes seconds."""

TIMES = ("seconds", "images_per_second")
"""Ends of the names of columns and attributes that no two runs have in common."""


NO_FACTS = ("created", "run", CHECKSUM, "DIMENSION_LABELS")
"""Attributes that are times, count the runs of an audit, follow from others, or are HDF5's own."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status, -9 if it was killed.
        said: what it wrote to stderr.
        seconds: how long it ran.
        changes: how many changes of its folder were seen.
    """

    status: int
    said: str
    seconds: float
    changes: int


@dataclass(frozen=True, slots=True)
class Moment:
    """When a command is killed: after ``seconds``, or ``seconds`` after the n-th change.

    Attributes:
        seconds: elapsed time.
        change: number of the change of the folder, from 1; 0 to count from the start.
    """

    seconds: float
    change: int = 0

    @classmethod
    def drawn(cls, source: random.Random, undisturbed: Ended) -> Moment:
        """A random moment of a command that took what ``undisturbed`` took."""
        if undisturbed.changes and source.random() < BY_CHANGE:
            return cls(source.uniform(0, AFTER_CHANGE), source.randint(1, undisturbed.changes))
        return cls(source.uniform(0, undisturbed.seconds))


def preload() -> None:
    """Import in this process what the commands import."""
    for name in PRELOADED:
        import_module(name)


def run(
    arguments: list[str], folder: Path, moment: Moment | None = None, *, program: bool = False
) -> Ended:
    """Run `robcert` with ``arguments`` in ``folder``, and kill it at ``moment``.

    Args:
        arguments: those of the command line.
        folder: working folder, and the one whose changes are counted.
        moment: when it is killed; None to let it come to its end.
        program: start the program itself in place of a fork of this process.
    """
    errors = folder.parent / f"{folder.name}.stderr"
    begin = time.monotonic()
    pid = _started(arguments, folder, errors, program=program)
    changes, seen, counted_from = 0, _state(folder), begin
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic()
        if done:
            break
        if (state := _state(folder)) != seen:
            seen, changes = state, changes + 1
            if moment is not None and changes == moment.change:
                counted_from = now
        if moment is not None and changes >= moment.change and now >= counted_from + moment.seconds:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(PAUSE)
    said = errors.read_text(errors="replace")
    errors.unlink()
    return Ended(os.waitstatus_to_exitcode(status), said, time.monotonic() - begin, changes)


def _started(arguments: list[str], folder: Path, errors: Path, *, program: bool) -> int:
    """Number of a process that runs the command."""
    errors.touch()
    pid = os.fork()
    if pid:
        return pid
    status = NOT_STARTED
    try:
        for number, file in enumerate((os.devnull, os.devnull, str(errors))):
            os.dup2(os.open(file, os.O_RDWR), number)
        os.chdir(folder)
        if program:
            start = [sys.executable, "-m", "robcert.cli.main", *arguments]
            os.execv(sys.executable, start)
        status = _status(arguments)
    finally:
        os._exit(status)


def _status(arguments: list[str]) -> int:
    """Exit status of the command, which runs in this process."""
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    sys.argv = ["robcert", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return NOT_STARTED
    finally:
        sys.stderr.flush()
    return 0


def _state(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Paths, sizes and times of the files below ``folder``, hidden ones included."""
    found, left = set(), [str(folder)]
    while left:
        for entry in os.scandir(left.pop()):
            if entry.is_dir(follow_symlinks=False):
                left.append(entry.path)
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat()
                found.add((entry.path, status.st_size, status.st_mtime_ns))
    return frozenset(found)


def contents(path: Path) -> dict[str, bytes]:
    """Every dataset and attribute of a results file but times and checksums of them, as bytes."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        for key, value in item.attrs.items():
            if key not in NO_FACTS and not key.endswith(TIMES):
                found[f"{name}@{key}"] = repr(_without_times(value)).encode()
        if isinstance(item, h5py.Dataset) and not name.endswith((*TIMES, CHECKSUM)):
            values = item[()]
            found[name] = values if isinstance(values, bytes) else values.tobytes()

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
    return found


def _without_times(value: Any) -> object:
    """An attribute without the times that it holds, if it is JSON."""
    if isinstance(value, str) and value.startswith("{"):
        return {key: item for key, item in json.loads(value).items() if not key.endswith(TIMES)}
    return value


def finished_rows(path: Path) -> dict[tuple[str, int], bytes]:
    """All finished rows of a results file as bytes, by table and image or sample.

    Columns of images, which are written when a table is finished, are left out.
    """
    found: dict[tuple[str, int], bytes] = {}
    tables: list[h5py.Group] = []

    def visit(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group) and "computed" in item:
            tables.append(item)

    with h5py.File(path) as file:
        index = file["data/index"][()]
        file.visititems(visit)
        for table in tables:
            done = table["computed"][()] == 1
            names = index if table.attrs["axis"] == "image" else np.arange(len(done))
            columns = [
                item[()]
                for name, item in sorted(table.items())
                if isinstance(item, h5py.Dataset)
                and item.ndim
                and not item.chunks
                and item.dims[0].label == table.attrs["axis"]
                and not name.endswith((*TIMES, CHECKSUM))
            ]
            for row in np.flatnonzero(done):
                values = b"".join(column[row].tobytes() for column in columns)
                found[str(table.name), int(names[row])] = values
    return found
