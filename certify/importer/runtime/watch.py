"""Calls of a foreign model that end at a time limit or at Ctrl-C.

A loop inside a graph may run for ever on some images. One thread watches all calls into the runtime
and tells it to stop, which it does between two nodes.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import onnxruntime

from robcert.certify.errors import TimeLimitError
from robcert.certify.interrupts import on_interrupt
from robcert.certify.workers import at_start

from .limits import RunLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTERVAL = 0.5
"""Seconds between two looks at the calls."""

_DEFAULTS = RunLimits()

_running: dict[int, tuple[onnxruntime.RunOptions, float]] = {}


@contextmanager
def watched(rows: int, limits: RunLimits = _DEFAULTS) -> Iterator[onnxruntime.RunOptions]:
    """Options for one call on ``rows`` images, which end it when its time is up.

    Raises:
        TimeLimitError: it took longer than ``limits`` allow.
    """
    _watch()
    options = onnxruntime.RunOptions()
    seconds = limits.call_seconds(rows)
    end = time.monotonic() + seconds
    _running[id(options)] = (options, end)
    try:
        yield options
    except TimeLimitError:
        raise
    except Exception as error:
        if options.terminate and time.monotonic() >= end:
            raise too_slow(rows, seconds) from error
        raise
    finally:
        del _running[id(options)]


def too_slow(rows: int, seconds: float) -> TimeLimitError:
    """The error of a call on ``rows`` images that took more than ``seconds``."""
    message = f"the model took more than {seconds:.3g} s on a batch of {rows}"
    hint = "a loop in the file may not end on these images; --call-limit allows more time"
    return TimeLimitError(message, hint=hint)


@cache
def _watch() -> None:
    """Start the thread; Ctrl-C reaches the calls if the first is made by the main thread."""
    on_interrupt(_end_all)
    threading.Thread(target=_look, daemon=True).start()


def _forget() -> None:
    """Forget thread and calls, which a worker process does not have."""
    _running.clear()
    _watch.cache_clear()


at_start(_forget)


def _end_all() -> None:
    """End all calls."""
    for options, _ in list(_running.values()):
        options.terminate = True


def _look() -> None:
    """End calls whose time is up; never returns."""
    while True:
        time.sleep(_INTERVAL)
        now = time.monotonic()
        for options, end in list(_running.values()):
            if now >= end:
                options.terminate = True
