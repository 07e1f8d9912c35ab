"""From what the batches of a pilot took to what a run takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from robcert.certify.passes import Passes
from robcert.certify.session import BATCH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pilot import Batch, Task

LEAST_SPREAD = 0.15
"""Half of the smallest range, in units of the time: clocks of processors change by as much."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What work takes.

    Attributes:
        seconds: elapsed time.
        lower, upper: range of the elapsed time.
        processor: processor time of all processes, seconds.
        forward, backward: passes of one image each.
    """

    seconds: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    processor: float = 0.0
    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.lower + other.lower,
            self.upper + other.upper,
            self.processor + other.processor,
            self.forward + other.forward,
            self.backward + other.backward,
        )

    @classmethod
    def known(cls, seconds: float, processor: float) -> Cost:
        """Cost of work that was done in full, apart from the spread of clocks."""
        return cls(seconds, seconds * (1 - LEAST_SPREAD), seconds * (1 + LEAST_SPREAD), processor)


@dataclass(frozen=True, slots=True)
class Line:
    """Processor time of a batch: ``fixed + each * images``, seconds."""

    fixed: float
    each: float

    @classmethod
    def through(cls, batches: Sequence[Batch]) -> Line:
        """The line nearest to ``batches`` in relative distance, without negative coefficients.

        Processor time is told, which other programs change less. The first batch is left out where
        two others remain: it waits for memory and compilers.
        """
        used = batches[1:] if len(batches) > 2 else batches
        times = np.array([_processor(batch) for batch in used])
        images = np.array([batch.images for batch in used], float)
        if len(used) < 2:
            return cls(0.0, float(times[-1] / images[-1]))
        found, _ = optimize.nnls(np.stack([1 / times, images / times], 1), np.ones(len(used)))
        return cls(float(found[0]), float(found[1]))

    def of(self, images: float) -> float:
        """Time of a batch."""
        return self.fixed + self.each * images

    def total(self, rows: float, most: int) -> float:
        """Time of ``rows`` in batches of at most ``most``."""
        return math.ceil(rows / most) * self.fixed + rows * self.each


def cost_of(task: Task, images: int) -> Cost:
    """What ``task`` takes in a run on ``images``."""
    rows = task.share if task.whole else task.share * images
    used = [batch for batch in task.batches if batch.images]
    if not rows:
        return Cost()
    if not used:  # not one image was done
        unknown = math.inf
        return Cost(unknown, sum(batch.seconds for batch in task.batches), unknown, unknown)
    line, done = Line.through(used), sum(batch.images for batch in used)
    passes = sum((batch.spent.passes for batch in used), Passes())
    elapsed = sum(batch.seconds for batch in used) / sum(_processor(batch) for batch in used)
    processor = line.total(rows, _largest(line, task, elapsed))
    single = _processor(used[-1]) / used[-1].images * rows  # larger batches save nothing
    spread = _spread(used, line) if task.spread is None else 2 * task.spread
    low, high = min(processor, single), max(processor, single)
    if (lost := task.batches[0]).abandoned and not lost.images:  # larger batches may save much
        low = min(high, rows / lost.abandoned * _processor(lost))
        processor = math.sqrt(low * high)
    return Cost(
        seconds=processor * elapsed,
        lower=low * elapsed / (1 + max(LEAST_SPREAD, spread)),
        upper=math.inf if task.cut else high * elapsed * (1 + max(LEAST_SPREAD, spread)),
        processor=processor,
        forward=rows * passes.forward / done,
        backward=rows * passes.backward / done,
    )


def _largest(line: Line, task: Task, elapsed: float) -> int:
    """Images of the largest batch: one takes BATCH_SECONDS at most where it has several."""
    if line.of(task.most) * elapsed <= BATCH_SECONDS:
        return task.most
    return max(1, int((BATCH_SECONDS / elapsed - line.fixed) / line.each) if line.each else 1)


def _processor(batch: Batch) -> float:
    return max(batch.spent.processor, 1e-6)


def _spread(batches: Sequence[Batch], line: Line) -> float:
    """Twice the standard error of the line, from the relative distances of the batches."""
    if len(batches) < 3:
        return 0.5
    away = [_processor(batch) / line.of(batch.images) - 1 for batch in batches[1:]]
    return float(2 * np.std(away) / math.sqrt(len(away)))
