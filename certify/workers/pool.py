"""The parent's side: rows are handed to workers in batches, and what they compute comes back.

Costs of images differ a hundredfold, so a worker gets its next batch when it has finished the last.
A worker that dies or hangs is replaced, and the rows of its batch that have not come back are
computed again, in halves: each half again, until the same row has been part of too many deaths.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.errors import WorkerError
from robcert.certify.time_budget import BatchAbandonedError

from .forks import Fork, Forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .links import Link, Part, Rows, Transport, Work

MOST_DEATHS = 3
"""Deaths of workers with the same row in their batch, after which the run ends."""

LOOK_SECONDS = 5.0
"""Interval between two looks at whether the workers compute."""

IDLE_LOOKS = 12
"""Looks in a row at which a worker with rows has used no processor time: it hangs. Looks are
counted, not seconds: a program that is suspended does not look."""

GRACE = 2.0
"""Seconds after the end of the time in which a worker may stop by itself."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One worker.

    Attributes:
        link: to it.
        rows: those of its batch that have not come back; None while it has no batch.
        begun: ``time.monotonic()`` at which it got the batch.
        size: rows of the batch.
        used: its processor time at the last look, seconds.
        idle: looks in a row at which it had used none.
    """

    link: Link
    rows: Rows | None = None
    begun: float = 0.0
    size: int = 0
    used: float = 0.0
    idle: int = 0


@dataclass(slots=True)
class WorkerPool:
    """Workers for one task; a context manager that ends them.

    Attributes:
        compute: what a worker does with rows.
        count: largest number of workers.
        task: name of the task, for messages.
        begin: called in each fork before it computes.
        transport: where the workers run; None for forks of this process.
    """

    compute: Work
    count: int
    task: str
    begin: Callable[[], None] = lambda: None
    transport: Transport | None = None
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
            worker = self._workers.pop()
            (worker.link.release if worker.rows is None else worker.link.end)()

    @property
    def processes(self) -> list[int]:
        """Numbers of the running forks."""
        links = [worker.link for worker in self._workers]
        return [link.process.pid or 0 for link in links if isinstance(link, Fork)]

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
        transport = self.transport or Forks(self.compute, self.begin)
        self._fresh, self._looked = rows, time.monotonic()
        while True:
            awaited = self._hand_out(transport, batch, end)
            busy = {worker.link: worker for worker in self._workers if worker.rows is not None}
            left = end + GRACE - time.monotonic()
            if not (busy or awaited) or left < 0:
                return
            for link in transport.ready(list(busy), min(LOOK_SECONDS, left)):
                yield from self._received(busy[link], finished)
            self._look()

    def _hand_out(self, transport: Transport, batch: Callable[[int], int], end: float) -> bool:
        """Give rows to every worker that has none, and start workers while there are rows.

        Returns:
            Whether rows wait for a worker that is on its way.
        """
        idle = [worker for worker in self._workers if worker.rows is None]
        while (idle or len(self._workers) < self.count) and (size := self._size(batch)):
            if not idle:
                link = transport.started()
                if link is None:
                    return True
                idle.append(_Worker(link))
                self._workers.append(idle[-1])
            worker, rows = idle.pop(), self._next(size)
            worker.rows, worker.begun, worker.size = rows, time.monotonic(), len(rows)
            worker.idle = 0
            worker.link.send(rows, end)
        return False

    def _size(self, batch: Callable[[int], int]) -> int:
        """Size of the next batch; 0 where there is none."""
        waiting = sum(map(len, (self._fresh, *self._again)))
        return batch(waiting) if waiting else 0

    def _next(self, size: int) -> Rows:
        """The next batch: rows of a worker that died, or ``size`` fresh ones."""
        if self._again:
            return self._again.popleft()
        rows, self._fresh = self._fresh[:size], self._fresh[size:]
        return rows

    def _received(self, worker: _Worker, finished: Callable[[int, float], None]) -> Iterator[Part]:
        """What ``worker`` has sent."""
        try:
            answer = worker.link.received()
        except EOFError:
            self._replace(worker, worker.link.cause)
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
            used = worker.link.used
            worker.idle = worker.idle + 1 if worker.rows is not None and used == worker.used else 0
            worker.used = used
            if worker.idle >= IDLE_LOOKS:
                self._replace(worker, f"no processor time in {IDLE_LOOKS * LOOK_SECONDS:g} s")

    def _replace(self, worker: _Worker, cause: str) -> None:
        """Forget ``worker``, and keep its rows for another.

        Raises:
            WorkerError: one of them was part of too many deaths.
        """
        worker.link.end()
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
