"""The pilot of a plan: an analysis itself on a few images, timed batch by batch.

It takes larger and larger batches while there is time, so that its costs show what a batch takes
whatever its size, and what each image adds. The first has as many images as gradients are padded
to: fewer would cost as much. Where a run begins with single images, so does the pilot. If the first
batch takes too long, it is abandoned, and one image is timed instead.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.core import silent
from robcert.certify.passes import Passes, passes_so_far
from robcert.certify.time_budget import BatchAbandonedError, abandoned_after
from robcert.certify.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from robcert.certify.session import Session, Steps
    from robcert.certify.workers import Part, Rows

MOST_IMAGES = 85
"""Images of a pilot: 1 + 4 + 16 + 64."""

FIRST_IMAGES = 16

LONGEST_STEP = 30.0
"""Seconds after which a batch of the pilot is abandoned."""

PATIENCE = 5
"""Elapsed time of a pilot in units of its limit where other programs take the processors."""

FACTOR = 4
GROWTH = 2.0
"""Time of a batch of ``FACTOR`` times as many images, in units of that of the batch."""

_MIX = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Spent:
    """What a computation took in its process: passes of the model and processor seconds."""

    passes: Passes = field(default_factory=Passes)
    processor: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.passes + other.passes, self.processor + other.processor)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of the pilot.

    Attributes:
        images: number of its images that got rows, in all processes.
        seconds: elapsed time.
        spent: passes and processor time, of all processes.
        abandoned: number of its images that got none.
    """

    images: int
    seconds: float
    spent: Spent
    abandoned: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What was measured of one table of an analysis.

    Attributes:
        part: part of the audit; empty for a single analysis.
        name: name of the task.
        share: rows of a run for each of its images; for ``whole`` their number.
        whole: whether the number of rows does not depend on that of the images.
        batches: in their order.
        most: images of the largest batch of a run, in all processes.
        processes: number of processes that compute batches side by side.
        cut: whether the last batch was abandoned, so that the costs are lower limits.
        spread: standard error of a forecast that was not measured, in units of it.
    """

    part: str
    name: str
    share: float
    whole: bool
    batches: tuple[Batch, ...]
    most: int
    processes: int = 1
    cut: bool = False
    spread: float | None = None


class PilotStoppedError(Exception):
    """Not one row was computed of a table that the rest of the command needs."""


@dataclass(slots=True)
class Measuring:
    """A pilot; see :class:`robcert.certify.session.Pilot`.

    Attributes:
        pilot_images: number of images of its session.
        limit: seconds for each task: of elapsed or processor time, whichever is less.
        tasks: what was measured.
        part: the part of the audit that runs now.
        elapsed: time of the batches, seconds.
        processor: their processor time, seconds.
    """

    pilot_images: int
    limit: float
    tasks: list[Task] = field(default_factory=list)
    part: str = ""
    elapsed: float = 0.0
    processor: float = 0.0
    _reached: dict[str, int] = field(default_factory=dict)

    def measure(self, session: Session, rows: Rows, steps: Steps) -> None:
        """Compute and write some of ``rows``, and keep what they took.

        Rows that all must be there are copied from the computed ones, in tables of a file that
        nobody reads.

        Raises:
            PilotStoppedError: there is not even one to copy.
        """
        if not len(rows) or self._filled_before(session, rows, steps):
            return
        steps.before()
        session.progress = silent
        order = rows if steps.whole else rows[np.argsort(_priority(rows))]
        processes = session.processes or 1
        known, size = _Known(steps), min(steps.first or FIRST_IMAGES, FIRST_IMAGES)
        began, processor = time.monotonic(), time.process_time()
        batches, cut = self._batches(session, order, steps, known, min(size, session.batch_size))
        if cut and not _images(batches) and batches[0].abandoned > 1:
            single, cut = self._batches(session, order[:1], steps, known, 1)
            batches += single
        done = _images(batches)
        if steps.whole and done:
            known.copy_to(order)
        self.elapsed += time.monotonic() - began
        self.processor += time.process_time() - processor
        self.tasks.append(
            Task(
                self.part,
                steps.task,
                len(rows) if steps.whole else self._share(session, len(rows), done),
                steps.whole,
                tuple(batches),
                session.batch_size * processes,
                processes,
                cut,
            )
        )
        if steps.whole and cut and not done:
            raise PilotStoppedError

    def _batches(
        self, session: Session, order: Rows, steps: Steps, known: _Known, size: int
    ) -> tuple[list[Batch], bool]:
        """Batches of ``order``, the first of ``size`` a process; whether the last was abandoned."""
        processes = session.processes or 1
        batches: list[Batch] = []
        start, cut, size = 0, False, size * processes
        with _computing(session, steps) as compute:
            while start < len(order) and not cut:
                some = order[start : start + size]
                batch, cut = _timed(compute, some, known)
                batches.append(batch)
                start += len(some)
                size = min(FACTOR * size, session.batch_size * processes)
                if self._full(batches, processes):
                    break
        return batches, cut

    def foresee(
        self, task: str, *, seconds: float, processor: float, forward: float, spread: float
    ) -> None:
        """Keep what a task will take that has a forecast of its own."""
        batch = Batch(1, seconds, Spent(Passes(round(forward), 0), processor))
        self.tasks.append(Task(self.part, task, 1.0, False, (batch,), 1, spread=spread))

    def _filled_before(self, session: Session, rows: Rows, steps: Steps) -> bool:
        """Whether an earlier task filled the table, which in a run leaves nothing to compute."""
        of_all = len(session.indices) == self.pilot_images
        return of_all and not steps.whole and len(rows) < self.pilot_images

    def _full(self, batches: list[Batch], processes: int) -> bool:
        """Whether another batch, which is larger, would take too long."""
        used = [min(batch.seconds, batch.spent.processor / processes) for batch in batches]
        elapsed = sum(batch.seconds for batch in batches)
        return sum(used) + GROWTH * used[-1] > self.limit or elapsed > PATIENCE * self.limit

    def _share(self, session: Session, rows: int, done: int) -> float:
        """Rows of a run for each of its images: some tables have rows of some images only."""
        if len(session.indices) == self.pilot_images:
            self._reached[self.part] = max(1, done)
            return 1.0
        return rows / self._reached.get(self.part, self.pilot_images)


@dataclass(slots=True)
class _Known:
    """Rows that were computed, to be written, and copied where rows are lacking."""

    steps: Steps
    rows: list[Rows] = field(default_factory=list)
    columns: list[dict[str, NDArray[Any]]] = field(default_factory=list)

    def write(self, rows: Rows, found: Any) -> int:
        """Write ``found``; the number of rows without an error."""
        self.steps.write(rows, found)
        if isinstance(found, Exception):
            return 0
        if self.steps.whole:
            self.rows.append(rows)
            self.columns.append(found)
        return len(rows)

    def copy_to(self, rows: Rows) -> None:
        """Write those of ``rows`` that are lacking with the values of others, in turn."""
        rows = rows[~np.isin(rows, np.concatenate(self.rows))]
        if not len(rows):
            return
        names = self.columns[0]
        joined = {name: np.concatenate([one[name] for one in self.columns]) for name in names}
        turn = np.arange(len(rows)) % len(next(iter(joined.values())))
        self.steps.write(rows, {name: values[turn] for name, values in joined.items()})


@contextlib.contextmanager
def _computing(session: Session, steps: Steps) -> Iterator[Any]:
    """The function that computes a batch, in this process or in the session's workers."""

    def compute(rows: Rows) -> Iterator[Part]:
        before, processor = passes_so_far(), time.process_time()
        yield from steps.compute(rows)
        passes = passes_so_far() - before
        yield rows[:0], Spent(passes, time.process_time() - processor)

    if not session.processes:
        yield compute
        return
    session.classifier.many_calls()
    with WorkerPool(compute, session.processes, steps.task, session.begin_worker) as pool:

        def by_workers(rows: Rows) -> Iterable[Part]:
            each = -(-len(rows) // session.processes)
            return pool.run(rows, lambda _: each, end=time.monotonic() + LONGEST_STEP)

        yield by_workers


def _timed(compute: Any, rows: Rows, known: _Known) -> tuple[Batch, bool]:
    """The batch of ``rows``, and whether it was abandoned."""
    began, done, spent, ended = time.monotonic(), 0, Spent(), False
    with contextlib.suppress(BatchAbandonedError), abandoned_after(began + LONGEST_STEP):
        for some, found in compute(rows):
            if isinstance(found, Spent):
                spent, ended = spent + found, True
            else:
                done += known.write(some, found)
    seconds = time.monotonic() - began
    if ended:
        return Batch(done, seconds, spent), False
    return Batch(done, seconds, Spent(processor=seconds), len(rows) - done), True


def _images(batches: list[Batch]) -> int:
    """The number of images that got rows."""
    return sum(batch.images for batch in batches)


def _priority(rows: Rows) -> NDArray[np.uint64]:
    """Numbers by which the same images come first in every task, spread over the data set."""
    return rows.astype(np.uint64) * np.uint64(_MIX)
