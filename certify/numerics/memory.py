"""Keep freed memory in the process, so that the next tensor does not fault its pages in again."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt's parameters, malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc not to give large blocks back to the system; whether that was possible.

    torch allocates every activation anew; without this each is mapped, faulted in page by page and
    unmapped again, which costs small networks more than their arithmetic. The process then stays
    at its peak size. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 1 << 30))
