"""Memory of the process and of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt's parameters, malloc.h


def keep_freed_memory() -> bool:
    """Whether glibc was told not to return large blocks to the system.

    torch allocates every activation again; without this setting each is mapped, faulted in page by
    page and unmapped, which takes longer than the arithmetic of small networks. The process then
    keeps its peak size. Other C libraries are not changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 1 << 30))


_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

UNKNOWN_MACHINE = 8 * 2**30
"""Bytes that a machine is taken to have whose system does not tell."""


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container around this process if it has fewer."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        found = UNKNOWN_MACHINE
    for limit in _CGROUP:
        with contextlib.suppress(OSError, ValueError):  # no such limit, or the word "max"
            found = min(found, int(limit.read_text()))
    return found


@contextlib.contextmanager
def limited_memory(further: int | None = None) -> Iterator[None]:
    """Context in which this process may take ``further`` bytes beyond those that it has.

    An allocation beyond that fails, which is an error of the operator that requested it. There is
    no effect where the system cannot do that, or where the memory of a GPU is mapped.

    Args:
        further: that number; None for the memory of the machine.
    """
    before = _data_limit()
    if before is None:
        yield
        return
    import resource

    allowed = _data_size() + (machine_memory() if further is None else further)
    soft, hard = before
    most = min((limit for limit in before if limit != resource.RLIM_INFINITY), default=allowed)
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed, most), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextlib.contextmanager
def unlimited_memory() -> Iterator[None]:
    """Context in which :func:`limited_memory` has no effect, for child processes started in it."""
    before = _data_limit()
    if before is None:
        yield
        return
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_limit() -> tuple[int, int] | None:
    """Limits of private writable memory, soft and hard; None where they cannot serve."""
    import torch

    if torch.cuda.is_available() or not Path("/proc/self/statm").exists():
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)


def _data_size() -> int:
    """Bytes of private writable memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    return pages * os.sysconf("SC_PAGE_SIZE")
