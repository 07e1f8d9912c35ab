"""The time budget of a run: a batch that overruns it is abandoned at the next call of the model.

An analysis computes a batch with thousands of calls, and how long they take is the model's choice.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_end: ContextVar[float] = ContextVar("_end", default=math.inf)


class BatchAbandonedError(Exception):
    """The time budget ended; never seen outside the loop over batches."""


@contextmanager
def abandoned_after(end: float) -> Iterator[None]:
    """Abandon the work inside at its first call of a model after ``end``; only in this thread.

    Args:
        end: in the time of ``time.monotonic``.

    Raises:
        BatchAbandonedError: the work was abandoned.
    """
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def require_time() -> None:
    """Raise a BatchAbandonedError where the work is to be abandoned; every call of a model asks."""
    if time.monotonic() > _end.get():
        raise BatchAbandonedError
