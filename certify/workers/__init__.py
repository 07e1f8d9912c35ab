"""Worker processes that compute rows, each with one thread; forks of the process of an analysis."""

from __future__ import annotations

from .activity import group_seconds
from .child import at_start, become_worker, in_worker, portable
from .links import Crew, Link, Part, Rows, Transport, Work
from .pool import WorkerPool
from .support import why_unavailable

__all__ = [
    "Crew",
    "Link",
    "Part",
    "Rows",
    "Transport",
    "Work",
    "WorkerPool",
    "at_start",
    "become_worker",
    "group_seconds",
    "in_worker",
    "portable",
    "why_unavailable",
]
