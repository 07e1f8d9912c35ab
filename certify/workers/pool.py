"""The parent's side: rows are handed to workers in batches, and what they compute comes back.

Costs of images differ a hundredfold, so a worker gets its next batch when it has finished the last.
A worker that dies or hangs is replaced, and the rows of its batch that have not come back are
computed again, in halves: each half again, until the same row has been part of too many deaths.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from robcert.certify.errors import WorkerError
from robcert.certify.time_budget import BatchAbandonedError

from .activity import processor_seconds
from .child import serve

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

MOST_DEATHS = 3
"""Deaths of workers with the same row in their batch, after which the run ends."""

LOOK_SECONDS = 5.0
"""Interval between two looks at whether the workers compute."""

IDLE_LOOKS = 12
"""Looks in a row at which a worker with rows has used no processor time: it hangs. Looks are
counted, not seconds: a program that is suspended does not look."""

GRACE = 2.0
"""Seconds after the end of the time in which a worker may stop by itself."""

Rows = NDArray[np.int64]
"""Images, or other rows, by their numbers."""

Part = tuple[Rows, Any]
"""Rows that are done, and what was computed for them, or the error that it ended with."""

Work = Callable[[Rows], Iterable[Part]]
"""Parts of the rows that it is given, as they are done."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One process.

    Attributes:
        process: it.
        pipe: to it.
        rows: those of its batch that have not come back; None while it has no batch.
        begun: ``time.monotonic()`` at which it got the batch.
        size: rows of the batch.
        used: its processor time at the last look, seconds.
        idle: looks in a row at which it had used none.
    """

    process: BaseProcess
    pipe: Connection
    rows: Rows | None = None
    begun: float = 0.0
    size: int = 0
    used: float = 0.0
    idle: int = 0

    def end(self) -> None:
        """Kill the process: it writes no file, so nothing is lost but what it computes."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    @property
    def cause(self) -> str:
        """How the process ended."""
        self.process.join(1.0)
        code = self.process.exitcode
        if code is None:
            return "it closed its pipe"
        return f"signal {-code}" if code < 0 else f"status {code}"


@dataclass(slots=True)
class WorkerPool:
    """Worker processes for one task; a context manager that ends them.

    Attributes:
        compute: what a worker does with rows.
        count: number of workers.
        task: name of the task, for messages.
        begin: called in each worker before it computes.
    """

    compute: Work
    count: int
    task: str
    begin: Callable[[], None] = lambda: None
    _workers: list[_Worker] = field(default_factory=list)
    _fresh: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    _again: deque[Rows] = field(default_factory=deque)
    _undone: list[Rows] = field(default_factory=list)
    _deaths: Counter[int] = field(default_factory=Counter)
    _looked: float = 0.0

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        while self._workers:
            self._workers.pop().end()

    @property
    def processes(self) -> list[int]:
        """Numbers of the running processes."""
        return [worker.process.pid or 0 for worker in self._workers]

    @property
    def left(self) -> int:
        """Number of rows that are not done."""
        begun = [worker.rows for worker in self._workers if worker.rows is not None]
        return sum(map(len, (self._fresh, *self._again, *self._undone, *begun)))

    def run(
        self,
        rows: Rows,
        batch: Callable[[int], int],
        *,
        finished: Callable[[int, float], None] = lambda _, __: None,
        end: float = math.inf,
    ) -> Iterator[Part]:
        """Parts of ``rows``, as they are done.

        It ends early where ``batch`` allows no more, and where ``end`` comes; see ``left``.

        Args:
            rows: what is computed.
            batch: size of the next batch, where so many rows wait; 0 where none is to be begun.
            finished: called with the number of rows of each finished batch, and its seconds.
            end: ``time.monotonic()`` at which workers abandon what they compute.

        Raises:
            WorkerError: workers died or hung too often with the same rows, or cannot be started.
            Exception: what a worker's computation raised.
        """
        self._fresh, self._looked = rows, time.monotonic()
        while True:
            self._hand_out(batch, end)
            busy = {worker.pipe: worker for worker in self._workers if worker.rows is not None}
            left = end + GRACE - time.monotonic()
            if not busy or left < 0:
                return
            for pipe in wait(list(busy), min(LOOK_SECONDS, left)):
                yield from self._received(busy[cast("Connection", pipe)], finished)
            self._look()

    def _hand_out(self, batch: Callable[[int], int], end: float) -> None:
        """Give rows to every worker that has none, and start workers while there are rows."""
        idle = [worker for worker in self._workers if worker.rows is None]
        while idle or len(self._workers) < self.count:
            rows = self._next(batch)
            if rows is None:
                return
            worker = idle.pop() if idle else self._started()
            worker.rows, worker.begun, worker.size, worker.idle = (
                rows,
                time.monotonic(),
                len(rows),
                0,
            )
            with contextlib.suppress(OSError):  # it has died, which its pipe will tell
                worker.pipe.send((rows, end))

    def _next(self, batch: Callable[[int], int]) -> Rows | None:
        """The next batch; None where there is none."""
        waiting = sum(map(len, (self._fresh, *self._again)))
        size = batch(waiting) if waiting else 0
        if not size:
            return None
        if self._again:
            return self._again.popleft()
        rows, self._fresh = self._fresh[:size], self._fresh[size:]
        return rows

    def _received(self, worker: _Worker, finished: Callable[[int, float], None]) -> Iterator[Part]:
        """What ``worker`` has sent."""
        try:
            answer = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker, worker.cause)
            return
        worker.idle = 0
        rows = np.empty(0, np.int64) if worker.rows is None else worker.rows
        if isinstance(answer, tuple):
            worker.rows = rows[~np.isin(rows, answer[0])]
            yield answer
            return
        worker.rows = None
        self._undone.append(rows)
        if answer is None:
            finished(worker.size, time.monotonic() - worker.begun)
        elif not isinstance(answer, BatchAbandonedError):
            raise answer

    def _look(self) -> None:
        """Replace the workers that hang."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for worker in list(self._workers):
            used = processor_seconds(worker.process.pid or 0)
            worker.idle = worker.idle + 1 if worker.rows is not None and used == worker.used else 0
            worker.used = used
            if worker.idle >= IDLE_LOOKS:
                self._replace(worker, f"no processor time in {IDLE_LOOKS * LOOK_SECONDS:g} s")

    def _replace(self, worker: _Worker, cause: str) -> None:
        """Forget ``worker``, and keep its rows for another.

        Raises:
            WorkerError: one of them was part of too many deaths.
        """
        worker.end()
        self._workers.remove(worker)
        rows = worker.rows
        if rows is None or not len(rows):
            return
        self._deaths.update(rows.tolist())
        if any(self._deaths[row] >= MOST_DEATHS for row in rows.tolist()):
            shown = ", ".join(map(str, rows[:5].tolist())) + (", …" if len(rows) > 5 else "")
            message = (
                f"{self.task}: a worker process ended {MOST_DEATHS} times in the middle of its "
                f"work ({cause}), with {shown} at the last"
            )
            hint = "rows so far are kept; memory may not suffice: pass a smaller --workers"
            raise WorkerError(message, hint=hint)
        self._again += [half for half in np.array_split(rows, 2) if len(half)]

    def _started(self) -> _Worker:
        """A new worker, which is one of the pool.

        Raises:
            WorkerError: the system has no memory for it, or allows no more processes.
        """
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        arguments = (there, self.compute, self.begin, os.getpid())
        process = context.Process(target=serve, args=arguments, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # newer Pythons warn of threads that a fork lacks: of the program's, it needs none
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
        except OSError as error:
            message = f"cannot start a worker process: {error.strerror}"
            raise WorkerError(message, hint="pass a smaller --workers") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            there.close()
        self._workers.append(_Worker(process, here))
        return self._workers[-1]
