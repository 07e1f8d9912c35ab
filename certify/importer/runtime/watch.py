"""Calls of a foreign model that end at a time limit or at Ctrl-C.

A loop inside a graph may run for ever on some images. Python handles a signal only between its own
instructions, so a call into the runtime would also hold up Ctrl-C; one thread watches all calls and
tells the runtime to stop, which it does between two nodes.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import onnxruntime

from robcert.certify.errors import TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS, SECONDS_PER_IMAGE = 60.0, 5.0
"""Time that a call may take, and further time for each image of its batch."""

_INTERVAL = 0.5
"""Seconds between two looks at the calls."""

_running: dict[int, tuple[onnxruntime.RunOptions, float]] = {}


@contextmanager
def watched(rows: int) -> Iterator[onnxruntime.RunOptions]:
    """Options for one call on ``rows`` images, which end it when its time is up.

    Raises:
        TimeLimitError: it took longer than ``SECONDS`` and ``SECONDS_PER_IMAGE`` allow.
    """
    _watch()
    options = onnxruntime.RunOptions()
    seconds = SECONDS + SECONDS_PER_IMAGE * rows
    end = time.monotonic() + seconds
    _running[id(options)] = (options, end)
    try:
        yield options
    except Exception as error:
        if options.terminate and time.monotonic() >= end:
            message = f"the model took more than {seconds:.0f} s on a batch of {rows}"
            hint = "a loop in the file may not end on these images; robcert does not run it"
            raise TimeLimitError(message, hint=hint) from error
        raise
    finally:
        del _running[id(options)]


@cache
def _watch() -> None:
    """Start the thread; signals reach it if the first call is made by the main thread."""
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    if threading.current_thread() is threading.main_thread():
        before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        if before != -1:  # another library listens to signals
            signal.set_wakeup_fd(before)
    threading.Thread(target=_look, args=(here, there), daemon=True).start()


def _look(signals: socket.socket, _kept: socket.socket) -> None:
    """End calls whose time is up, and all of them at an interrupt; never returns."""
    while True:
        told, _, _ = select.select([signals], [], [], _INTERVAL)
        interrupted = bool(told) and signal.SIGINT in signals.recv(64)
        now = time.monotonic()
        for options, end in list(_running.values()):
            if interrupted or now >= end:
                options.terminate = True
