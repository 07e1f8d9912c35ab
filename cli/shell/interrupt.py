"""Ctrl-C that ends the program, also where a call of a library holds up Python's own handling.

Python raises KeyboardInterrupt only between its instructions, and waits at its end for the calls of
other threads. Neither may keep the program alive: finished rows of a results file survive any end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

from robcert.certify.interrupts import on_interrupt

GRACE = 1.2
"""Seconds after Ctrl-C in which the program may end by itself."""

_SHOW_CURSOR = "\x1b[?25h"

_told = threading.Event()


def interrupt_told() -> None:
    """Record that the message about the interrupt is printed."""
    _told.set()


def end_after_interrupt(command: str, status: int) -> None:
    """End the process ``GRACE`` seconds after a Ctrl-C for which it set no handler of its own.

    Training has one: it finishes its step and saves its state.

    Args:
        command: the command line that continues the work.
        status: exit status.
    """

    def begin() -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            threading.Thread(target=_end, args=(command, status), daemon=True).start()

    on_interrupt(begin)


def end_now(status: int) -> None:
    """End the process without the interpreter's own tidying, which may take seconds."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _end(command: str, status: int) -> None:
    """Wait, then end the process without regard to what it does."""
    time.sleep(GRACE)
    lines = "" if _told.is_set() else f"interrupted: to continue, run: {command}\n"
    with contextlib.suppress(OSError):
        if os.isatty(sys.__stderr__.fileno() if sys.__stderr__ else 2):
            lines = _SHOW_CURSOR + lines  # a bar of progress may have hidden it
        os.write(2, lines.encode())
    os._exit(status)
