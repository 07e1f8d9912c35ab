"""Ctrl-C that takes effect after the current training step."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType


ONE_PRESS = 1.0
"""Seconds within which a second signal counts as the same Ctrl-C, repeated by a launcher."""


class DeferredInterrupt:
    """Context in which the first Ctrl-C only sets ``requested``; the second interrupts at once.

    It has no effect outside the main thread, where Python cannot handle signals.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: object = None
        self._first = 0.0

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested and time.monotonic() - self._first > ONE_PRESS:
            self._restore()
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._first = True, time.monotonic()

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type]
            self._previous = None
