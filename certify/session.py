"""The session of an analysis: one model, one data set, one results file."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from numpy.typing import NDArray

from robcert.certify.numerics import NO_CLASS, classes_of
from robcert.certify.workers import WorkerPool

from .core import Batch, Progress, silent
from .errors import NoClassError
from .failures import outcomes, require_progress
from .time_budget import BatchAbandonedError, abandoned_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from torch import Tensor

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier
    from robcert.certify.store import AnalysisGroup, ResultStore
    from robcert.certify.workers import Crew, Part, Rows, Work

BATCH_SECONDS = 15.0
"""Seconds that a batch should take at most: its rows are written when all of them are done. A batch
that takes longer than this beyond the time budget is abandoned."""

FIRST_IN_TIME = 4
"""Images of the first batch under a time budget: nothing is known about their time."""

LEAST_FOR_WORKER = 16
"""Images that a worker gets at least: smaller batches of gradients are filled up to this number."""

Columns = dict[str, NDArray[Any]]
"""Values of a table by column name; the first axis is the image, in the order of the batch."""


@dataclass(slots=True)
class Session:
    """One model, one data set and one results file, which is extended by the images reported on.

    Raises a DataError if the images or their labels do not fit the model.

    Attributes:
        indices: positions of the images that are reported on.
        batch_size: images per batch; affects speed only, not the rows.
        deadline: ``time.monotonic()`` after which no new batch is started; None for no limit. The
            batch that runs then is abandoned after :data:`BATCH_SECONDS`.
        processes: worker processes that compute rows, each with one thread; 0 for none: this
            process computes them. Affects speed only.
        crew: the machines on which these processes are; None for forks of this one.
        pilot: measures the work on some rows in place of doing all of it; None for a run.
    """

    classifier: Classifier
    images: ImageSet
    indices: NDArray[np.int64]
    store: ResultStore
    seed: int = 0
    batch_size: int = 64
    progress: Progress = field(default=silent)
    deadline: float | None = None
    processes: int = 0
    crew: Crew | None = None
    pilot: Pilot | None = None

    def __post_init__(self) -> None:
        self.images.require_fit(self.classifier.image_shape, self.classifier.num_classes)
        labels = self.images.labels
        self.store.add_images(self.indices, None if labels is None else labels[self.indices])

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is used up."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def pixels(self, indices: NDArray[np.int64]) -> Tensor:
        """The images at ``indices`` as the model sees them: on the levels of an integer input."""
        x, grid = self.images.pixels(indices).to(self.classifier.device), self.classifier.grid
        return x if grid is None else grid.nearest(x)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The images at ``indices``; y is the label, or the model's prediction without labels.

        Raises:
            NoClassError: there are no labels and the model names no class for one of the images.
        """
        x = self.pixels(indices)
        labels = self.images.labels
        y = (
            classes_of(self.classifier.logits(x))
            if labels is None
            else torch.from_numpy(labels[indices])
        )
        if labels is None and bool((y == NO_CLASS).any()):
            message = "the model's scores are NaN, and without labels there is no class to refer to"
            raise NoClassError(message)
        return Batch(indices, x, y.to(self.classifier.device))

    def fill(
        self,
        group: AnalysisGroup,
        task: str,
        compute: Callable[[Batch], Columns],
        *,
        first: int | None = None,
        before: Callable[[], object] = lambda: None,
        keep: Callable[[Rows, Columns], Columns] = lambda _, columns: columns,
    ) -> None:
        """Compute the rows that ``group`` lacks, batch by batch; each batch is written at once.

        Batches become smaller while one takes over :data:`BATCH_SECONDS`, so that a run that is
        killed loses little, unless the images of a smaller batch take longer each. They grow again
        to the session's batch size while there is time.

        An image on which the model fails gets no row: the attribute ``failed`` holds the error, and
        running the same command again retries it.

        Args:
            group: the table; marked complete once all images of the session without an error have
                a row.
            task: name of the task for ``progress``.
            compute: columns of one batch; each row must not depend on the other images of the
                batch. It must write nothing: a worker process may call it.
            first: images in the first batch, for slow analyses; None for the session's batch size.
            before: called once before workers are started, for what they would each compute.
            keep: writes the columns of ``compute`` that belong elsewhere, and returns the others.
        """
        missing = group.missing(self.indices)
        done, failed = len(self.indices) - len(missing), dict[int, Exception]()
        self.progress(task, done, len(self.indices))

        def write(indices: Rows, found: Columns | Exception) -> None:
            nonlocal done
            if isinstance(found, Exception):
                failed[int(indices[0])] = found
                require_progress(failed, done=bool(done), requested=len(missing))
                return
            group.append(indices, keep(indices, found))
            done += len(indices)
            self.progress(task, done, len(self.indices))

        def parts(step: Rows) -> Iterator[Part]:
            return outcomes(lambda at: compute(self.batch(at)), step)

        steps = Steps(task, parts, write, first, before)
        if not self.in_steps(missing, steps):
            return
        kept = self.indices[group.computed(self.indices)]
        reasons = {str(at): str(error) for at, error in failed.items()}
        known = {"failed": reasons} if failed or group.attribute("failed") else {}
        group.finish(kept, **known)

    def in_steps(self, rows: Rows, steps: Steps) -> bool:
        """Compute and write ``rows`` in one step after the other; whether there was time for all.

        Under a time budget the first steps are small, and no step is larger than what the ones
        before let expect to end in time. Where a step is abandoned, what is not written is lost.

        Raises:
            WorkerError: worker processes died or hung too often.
        """
        if self.pilot is not None:
            self.pilot.measure(self, rows, steps)
            return True
        most = self.batch_size
        unknown = most if self.deadline is None else FIRST_IN_TIME
        sizes = _BatchSize(min(steps.first or most, most, unknown), most)
        with contextlib.suppress(BatchAbandonedError):
            if self.processes:
                return self._by_workers(rows, steps, sizes)
            return self._by_this_process(rows, steps, sizes)
        return False

    def _by_this_process(self, rows: Rows, steps: Steps, sizes: _BatchSize) -> bool:
        start = 0
        while start < len(rows):
            if self.out_of_time:
                return False
            begun = time.monotonic()
            step = rows[start : start + sizes.within(self._end - begun)]
            with abandoned_after(self._end + BATCH_SECONDS):
                for part in steps.compute(step):
                    steps.write(*part)
            start += len(step)
            sizes.adapt(len(step), time.monotonic() - begun)
        return True

    def _by_workers(self, rows: Rows, steps: Steps, sizes: _BatchSize) -> bool:
        if not len(rows) or self.out_of_time:
            return not len(rows)
        least = min(steps.first or LEAST_FOR_WORKER, self.batch_size)

        def size(waiting: int) -> int:
            left = self._end - time.monotonic()
            share = max(least, math.ceil(waiting / (2 * self.processes)))
            return min(share, sizes.within(left)) if left > 0 else 0

        with abandoned_after(self._end + BATCH_SECONDS):
            steps.before()
            if self.crew is None:
                self.classifier.many_calls()  # opened here once rather than in each worker
        crew, work = self.crew, steps.compute
        transport = None if crew is None else crew.transport(work, steps.images)
        begin = self.begin_worker
        with WorkerPool(work, self.processes, steps.task, begin, transport) as pool:
            end = self._end + BATCH_SECONDS
            for part in pool.run(rows, size, finished=sizes.adapt, end=end):
                steps.write(*part)
            return not pool.left

    def begin_worker(self) -> None:
        """Leave progress and results file to the process that started this one."""
        self.progress = silent
        self.store.file.only_read()

    @property
    def _end(self) -> float:
        """``time.monotonic()`` after which nothing new is started."""
        return math.inf if self.deadline is None else self.deadline


@dataclass(frozen=True, slots=True)
class Steps:
    """How rows are computed and written.

    Attributes:
        task: name of the task, for messages.
        compute: parts of the rows that it is given; it writes nothing.
        write: writes one part.
        first: rows of the first step, and least of a worker; None for the usual ones.
        before: called once before workers are started.
        whole: whether what follows needs every row, and their number is not that of the images.
        images: positions in the data set of the images that rows are about.
    """

    task: str
    compute: Work
    write: Callable[[Rows, Any], None]
    first: int | None = None
    before: Callable[[], object] = lambda: None
    images: Callable[[Rows], Rows] = lambda rows: rows
    whole: bool = False


class Pilot(Protocol):
    """Measures what the rows of a session take.

    Attributes:
        part: the part of an audit that runs now.
    """

    part: str

    def measure(self, session: Session, rows: Rows, steps: Steps) -> None:
        """Compute and write some of ``rows``, and keep what they took."""

    def foresee(
        self, task: str, *, seconds: float, processor: float, forward: float, spread: float
    ) -> None:
        """Keep what a task will take that has a forecast of its own.

        Args:
            task: its name.
            seconds: elapsed time for each image.
            processor: processor time for each image, seconds.
            forward: forward passes for each image.
            spread: standard error of both, in units of them.
        """


@dataclass(slots=True)
class _BatchSize:
    """Images of the next batch.

    Attributes:
        now: that number.
        most: largest number.
        least: smallest number; below it an image takes longer.
        before: images of the last batch, and its seconds for each.
    """

    now: int
    most: int
    least: int = 1
    before: tuple[int, float] | None = None

    def within(self, seconds: float) -> int:
        """Images of the next batch where there are ``seconds`` left; at least 1."""
        if self.before is None or self.before[1] * self.now <= seconds:
            return self.now
        return max(1, int(seconds / self.before[1]))

    def adapt(self, images: int, seconds: float) -> None:
        """Choose the next number after a batch of ``images`` took ``seconds``."""
        each = seconds / images
        if self.before is not None and images < self.before[0] and each > 1.5 * self.before[1]:
            self.least = self.before[0]
        self.before = (images, each)
        if seconds > BATCH_SECONDS:
            self.now = max(self.least, images // 2, 1)
        elif 2 * seconds <= BATCH_SECONDS:
            self.now = min(2 * images, self.most)
