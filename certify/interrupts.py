"""Functions that are called at Ctrl-C by another thread, while the main one may be in native code.

Python handles a signal only between its own instructions, so a long call of a library would hold up
Ctrl-C. A thread of its own learns of the signal at once.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_calls: list[Callable[[], None]] = []

_listening = threading.Event()


def on_interrupt(call: Callable[[], None]) -> None:
    """Call ``call`` at every SIGINT from now on, from a thread that listens for it.

    Python lets the main thread alone listen: there is no effect before the main thread was here,
    nor where another library listens to signals.
    """
    if call not in _calls:
        _calls.append(call)
    if _listening.is_set() or threading.current_thread() is not threading.main_thread():
        return
    here, there = socket.socketpair()
    there.setblocking(False)
    before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        return
    _listening.set()
    threading.Thread(target=_listen, args=(here, there), daemon=True).start()


def _listen(signals: socket.socket, _kept: socket.socket) -> None:
    """Wait for signals; never returns."""
    while True:
        if signal.SIGINT in signals.recv(64):
            for call in tuple(_calls):
                with contextlib.suppress(Exception):  # the others are called all the same
                    call()


def forget() -> None:
    """Forget the functions and the thread: a fork has neither a part in Ctrl-C nor that thread."""
    _calls.clear()
    _listening.clear()
    signal.set_wakeup_fd(-1)
