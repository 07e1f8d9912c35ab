"""Has an HDF5 file read in a child process, under a memory and a time limit, before it is opened.

The HDF5 library crashes or never returns on some damaged files: of 2,190 files with one changed
byte three crashed it and one stopped it. A file that the child has read through does neither.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from robcert.certify.children import run_module

from .contents import Fault
from .rescue import Rescued, RescuedTable

if TYPE_CHECKING:
    from pathlib import Path

_TRIAL = "robcert.certify.hdf5.trial"

MEMORY = 2**31
"""Bytes of address space of the child; of arrays above a few megabytes it reads the index only."""

SECONDS = 5
"""Processor time of the child, seconds, before the allowance for the file."""

SECONDS_PER_GIGABYTE = 60
"""Further processor time a gigabyte of the file, seconds."""

WAITING = 6
"""Elapsed time that the child may take on a busy machine, in multiples of its processor time."""

MOST_CRASHES = 40
"""Attempts to rescue a file, each without the parts at which the earlier ones crashed."""

_TIME_SIGNALS = (24, 9)
"""SIGXCPU, and SIGKILL for a process that ignores it."""

_checked: set[tuple[tuple[int, int, int, int], bool]] = set()

_written: set[tuple[int, int, int, int]] = set()


def fault_of_file(path: Path, *, soft_links: bool = False) -> Fault | None:
    """What makes ``path`` unfit to be opened; None if a child process could read all of it.

    A file that this process has checked or written is not read again while it is unchanged.

    Args:
        path: an HDF5 file.
        soft_links: accept links to names within the file.
    """
    known = _identity(path), soft_links
    if known in _checked or written_here(path):
        return None
    answer, place, death = _ask(path, {"soft_links": soft_links})
    if answer is None:
        return Fault(place, f"the HDF5 library {death} while it reads this")
    if answer["fault"] is not None:
        return Fault(**answer["fault"])
    _checked.add(known)
    return None


def remember_written(path: Path) -> None:
    """Note that this process wrote ``path`` as it is now."""
    _written.add(_identity(path))


def written_here(path: Path) -> bool:
    """Whether this process wrote ``path`` and nobody has changed it since."""
    return _identity(path) in _written


def rescue(path: Path, target: Path) -> Rescued:
    """Copy what is whole of the results file ``path`` into a new file ``target``, in a child.

    Args:
        path: the file, which is not changed.
        target: the new file, replaced if there is one; incomplete if no row can be saved.

    Raises:
        OSError: the target cannot be written.
    """
    skip: list[str] = []
    while len(skip) < MOST_CRASHES:
        answer, place, death = _ask(path, {"target": str(target), "skip": skip})
        if answer is not None and "unwritable" in answer:
            number = answer["unwritable"]
            raise OSError(number, os.strerror(number or 0))
        if answer is not None:
            return _rescued(answer)
        if place in ("", "/", *skip):
            break
        skip.append(place)
    return Rescued((), (), f"the HDF5 library {death}")


def _identity(path: Path) -> tuple[int, int, int, int]:
    """What changes whenever the file at ``path`` does."""
    now = path.stat()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


def _rescued(answer: dict[str, Any]) -> Rescued:
    return Rescued(
        tuple(RescuedTable(**table) for table in answer["tables"]),
        tuple(Fault(**fault) for fault in answer["faults"]),
        answer["header"],
    )


def _ask(path: Path, request: dict[str, Any]) -> tuple[dict[str, Any] | None, str, str]:
    """The child's answer, None if it died; the part that it read last; how it died."""
    seconds = SECONDS + int(SECONDS_PER_GIGABYTE * path.stat().st_size / 2**30)
    whole = {
        "path": str(path.absolute()),
        "soft_links": False,
        "target": "",
        "skip": [],
        "memory": MEMORY,
        "seconds": seconds,
        **request,
    }
    ended = run_module(_TRIAL, json.dumps(whole).encode(), seconds=WAITING * seconds)
    written, status = ended.stdout.decode("utf-8", "replace"), ended.status
    lines = [json.loads(line) for line in written.splitlines() if line.endswith(('"', "}"))]
    if status == 0 and lines and isinstance(lines[-1], dict):
        return lines[-1], "", ""
    place = next((line for line in reversed(lines) if isinstance(line, str)), "")
    return None, place, _death(status, seconds)


def _death(status: int | None, seconds: int) -> str:
    """How a child ended, in words."""
    if status is None or -status in _TIME_SIGNALS:
        return f"does not end within {seconds} s"
    return f"crashes (signal {-status})" if status < 0 else f"fails (status {status})"
