"""Processor time of a process, by which one that hangs is told from one that computes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GROUP, _USER, _CHILDREN_SYSTEM = 2, 11, 15  # fields of /proc/PID/stat after the name, proc(5)


def processor_seconds(process: int) -> float:
    """Seconds that the process and its child processes have computed; 0 where that is unknown."""
    ticks = 0
    for one in (process, *_children(process)):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[_USER:_CHILDREN_SYSTEM]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(process: int) -> list[int]:
    """The processes that any of its threads has started and that still run."""
    found: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def group_seconds(leader: int) -> float:
    """Seconds that the processes of the group of ``leader`` have computed, ended ones included.

    It is 0 where that is unknown.
    """
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[_GROUP]) == leader:
                ticks += sum(map(int, fields[_USER:_CHILDREN_SYSTEM]))
    return ticks / os.sysconf("SC_CLK_TCK")
