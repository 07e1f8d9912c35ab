"""Progress on stderr: a bar with the remaining time, and nothing for short tasks."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from robcert.certify.auditing import Stage

QUIET_SECONDS = 2.0
"""Shorter tasks are not shown."""
PLAIN_SECONDS = 30.0
"""Seconds between lines where stderr is a file or a pipe."""
PARTS = "parts of the audit"
"""Name of the bar of all parts."""


MOST_WRONG = 5.0
"""By this factor at most, finished parts correct the expected times of the others."""


@dataclass(slots=True)
class Overall:
    """The time left of an audit.

    Attributes:
        expected: seconds by part.
        began: ``time.monotonic()`` at the start of each part that has started, in order.
    """

    expected: dict[str, float]
    began: dict[str, float]

    def start(self, part: str) -> None:
        """Record that ``part`` starts now."""
        self.began.setdefault(part, time.monotonic())

    def left(self) -> float:
        """Seconds until the end, corrected by how long the finished parts took."""
        starts, now = list(self.began.values()), time.monotonic()
        finished = sum(self.expected.get(part, 0.0) for part in list(self.began)[:-1])
        took = starts[-1] - starts[0] if starts else 0.0
        wrong = min(max(took / finished, 1 / MOST_WRONG), MOST_WRONG) if finished else 1.0
        coming = sum(s for part, s in self.expected.items() if part not in self.began)
        if not starts:
            return coming
        current = self.expected.get(list(self.began)[-1], 0.0)
        return wrong * coming + max(0.0, wrong * current - (now - starts[-1]))


def span(seconds: float) -> str:
    """A time left, in seconds, minutes or hours.

    >>> span(42.3), span(600), span(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class TerminalProgress:
    """Display of the progress of analyses; a context manager.

    On a terminal: one bar per task, and above them one of the parts of an audit. Elsewhere: a line
    where a part takes longer than a moment, and one every half minute, whether or not the task
    reports anything. With --quiet: nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._started = time.monotonic()
        self._stage: Stage | None = None
        self._announced = True
        self._states: dict[str, str] = {}
        self._overall: Overall | None = None
        self._ended = threading.Event()

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Tell the time left of the whole audit from now on: ``seconds`` by part, if known."""
        if seconds and all(map(math.isfinite, seconds.values())):
            self._overall = Overall(dict(seconds), {})

    def start_stage(self, stage: Stage) -> None:
        """Show that a part of an audit starts."""
        self._stage, self._announced = stage, False
        self._states.clear()
        if self._overall is not None:
            self._overall.start(stage.name)
        self._begun.clear()  # tasks of the same name are others in each part
        if self._bars is not None:
            self._show_stage()

    def end_stages(self) -> None:
        """Remove the display of the parts of an audit; the last one is done."""
        self._stage, self._announced = None, True
        self._states.clear()
        if self._bars is not None and PARTS in self._tasks:
            self._bars.remove_task(self._tasks.pop(PARTS))
            self._bars.refresh()

    def __call__(self, task: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` units of ``task``."""
        if self._quiet or total <= 0:
            return
        task = visible_line(task)
        now = time.monotonic()
        began, at_start = self._begun.setdefault(task, (now, done))
        if done >= total:  # the next task of this name is another
            del self._begun[task]
            self._states.pop(task, None)
            if task not in self._tasks:
                return
        else:
            rate = (done - at_start) / (now - began) if now > began else 0.0
            left = f", about {span((total - done) / rate)} left" if rate > 0 else ""
            self._states[task] = f"{task}: {done} of {total}{left}"
        if now - began < QUIET_SECONDS and task not in self._tasks:
            return
        if self._terminal:
            self._show_bar(task, done, total)
        elif not self._announced:
            self._write(self._announcement())

    def _announcement(self) -> str:
        """What is being done and what comes."""
        self._announced = True
        if self._stage is None:
            return ""
        coming = ", ".join(self._stage.coming)
        then = f"; then {coming}" if coming else "; the last one"
        left = self._left_in_all("; ")
        return f"{self._stage.name}: part {self._stage.place} of {self._stage.total}{then}{left}"

    def _left_in_all(self, before: str) -> str:
        """The time left of the whole audit, where it is known and parts are left."""
        if self._overall is None or self._stage is None:
            return ""
        return f"{before}about {span(self._overall.left())} left in all"

    def _write_now_and_then(self) -> None:
        """Write a line every half minute until the end; in a thread of its own."""
        while not self._ended.wait(PLAIN_SECONDS):
            announced = "" if self._announced else self._announcement()
            stage = f"{self._stage.name}, " if self._stage is not None else ""
            so_far = f"{time.monotonic() - self._started:.0f} s so far"
            with contextlib.suppress(OSError, ValueError):  # stderr is closed
                self._write(announced)
                in_all = self._left_in_all("; ")
                state = "; ".join(list(self._states.values())) or "working"
                self._write(f"{stage}{state}; {so_far}{in_all}")

    def _write(self, line: str) -> None:
        if line:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def _show_bar(self, task: str, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
            self._show_stage()
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total)
        self._bars.update(self._tasks[task], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(task))

    def _show_stage(self) -> None:
        """Show the part of the audit as a bar above those of its tasks."""
        if self._bars is None or self._stage is None:
            return
        stage, text = self._stage, self._announcement()
        if PARTS not in self._tasks:
            self._tasks[PARTS] = self._bars.add_task(text, total=stage.total)
        self._bars.update(
            self._tasks[PARTS], description=text, completed=stage.place - 1, total=stage.total
        )

    def __enter__(self) -> TerminalProgress:
        if not (self._quiet or self._terminal):
            threading.Thread(target=self._write_now_and_then, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
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
