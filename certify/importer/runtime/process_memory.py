"""Memory of a process that runs an untrusted model: its limit, and what a call takes.

This module is imported by the child process that tries an untrusted file: it must not import torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def limit_address_space(limit: int) -> None:
    """Let this process have ``limit`` bytes of address space, where the system can do that."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))


@contextlib.contextmanager
def peak_growth() -> Iterator[list[int]]:
    """List whose one entry is, afterwards, by how many bytes the process grew at most.

    It is 0 where the system does not tell.
    """
    growth = [0]
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)  # freed memory would hide what is taken again
    with contextlib.suppress(OSError):
        _RESET.write_text("5")  # the peak is from now on that of the context
    before = _resident("VmRSS")
    yield growth
    growth[0] = max(0, _resident("VmHWM") - before)


def _resident(entry: str) -> int:
    """Bytes of memory in use (``VmRSS``) or most ever in use (``VmHWM``); 0 if unknown."""
    try:
        found = re.search(rf"^{entry}:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0
