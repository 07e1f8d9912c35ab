"""Progress on stderr: a bar with the remaining time, and nothing for short tasks."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

QUIET_SECONDS = 2.0
"""Shorter tasks are not shown."""
PLAIN_SECONDS = 30.0
"""Seconds between lines where stderr is a file or a pipe."""


class TerminalProgress:
    """Display of the progress of analyses; a context manager.

    On a terminal: one bar per task. Elsewhere: a line every half minute. With --quiet: nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._spoken = time.monotonic()

    def __call__(self, task: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` units of ``task``."""
        if self._quiet or total <= 0:
            return
        task = visible_line(task)
        now = time.monotonic()
        began, at_start = self._begun.setdefault(task, (now, done))
        if done >= total and task not in self._tasks:
            return
        if now - began < QUIET_SECONDS and task not in self._tasks:
            return
        if self._terminal:
            self._show_bar(task, done, total)
        elif now - self._spoken > PLAIN_SECONDS:
            self._spoken = now
            rate = (done - at_start) / (now - began)
            left = f", about {(total - done) / rate:.0f} s left" if rate > 0 else ""
            sys.stderr.write(f"{task}: {done} of {total}{left}\n")

    def _show_bar(self, task: str, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total)
        self._bars.update(self._tasks[task], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(task))

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("·"),
        Elapsed(),
        TextColumn("· left"),
        Remaining(),
        console=Console(stderr=True),
        transient=True,
    )
