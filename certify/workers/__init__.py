"""Worker processes that compute rows, each with one thread; forks of the process of an analysis."""

from __future__ import annotations

from .activity import group_seconds
from .child import at_start, in_worker
from .pool import Part, Rows, Work, WorkerPool
from .support import why_unavailable

__all__ = [
    "Part",
    "Rows",
    "Work",
    "WorkerPool",
    "at_start",
    "group_seconds",
    "in_worker",
    "why_unavailable",
]
