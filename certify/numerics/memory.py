"""Keep freed memory in the process, so that the next tensor causes no page faults."""

from __future__ import annotations

import ctypes
import platform

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
