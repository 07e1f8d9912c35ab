"""Class counts of noisy copies of many images, in full batches.

One queue of images feeds the runtime: an image that needs two hundred draws and one that needs a
hundred thousand share batches, so the device never waits for a single image. Each worker thread
draws the noise of its own batch and evaluates it at once: the noise is still in the core's cache,
no core waits for another, and only counts are kept.

Noise comes in blocks of 64 draws, each from its own generator (seed, stream, image, block), and
counts are evaluated only at the analyses that the procedure requests. So the counts do not depend
on the batch size, the number of workers, the order of the images, or interruptions of the run.
"""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.failures import FAILURES
from robcert.certify.model import one_torch_thread
from robcert.certify.numerics import NO_CLASS, NOISE_BLOCK, classes_of, generator
from robcert.certify.workers import in_worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from robcert.certify.model import Classifier, Logits

    from .procedures import DrawRequest, Outcome, Procedure

VALUES_PER_BATCH = 256 * 3 * 32 * 32
"""Default number of pixel values per forward pass on a CPU."""

GPU_FACTOR = 32
MOST_ROWS = 512
"""Largest default batch on a CPU; larger ones are no faster."""

SECONDS_PER_BATCH = 0.25
"""Target time per batch: limits the overrun of a deadline, and larger batches are no faster."""

GPU_WORKERS = 2
"""Noise for one batch is drawn while the device evaluates the other."""


@dataclass(slots=True)
class ImageTask:
    """One image in the queue.

    Attributes:
        index: its position in the data set, which seeds its noise.
        x: pixels ``(c, h, w)``.
        procedure: requests the draws.
    """

    index: int
    x: Tensor
    procedure: Procedure
    request: DrawRequest = field(init=False)
    issued: int = field(init=False)
    counted: int = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    failed: bool = False

    def accept(self, request: DrawRequest, classes: int) -> None:
        """Make ``request`` the next draws of the image."""
        self.request = request
        self.issued = self.counted = request.start
        self.counts = np.zeros(classes, np.int64)


@dataclass(frozen=True, slots=True)
class NoiseChunk:
    """A noise block (or its beginning) in a batch: draws ``first`` to ``first + rows``."""

    task: ImageTask
    stream: str
    first: int
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """Images whose procedures ended, with their outcomes."""

    indices: NDArray[np.int64]
    outcomes: list[Outcome]

    def part(self, at: NDArray[np.int64]) -> Finished:
        """The images at the positions ``at``."""
        return Finished(self.indices[at], [self.outcomes[place] for place in at])


FAILED = -2
"""In place of the class of a draw on which the model failed; NO_CLASS is a draw without a class."""

PendingBatch = tuple["list[NoiseChunk]", "Future[NDArray[np.int64]]"]
"""A batch that was submitted to a worker, and the future of its votes."""


class Sampler:
    """Runs procedures on images.

    Args:
        classifier: evaluated in its runtime.
        sigma: standard deviation of the noise, in pixel units; the noise is not clipped.
        seed: seed of all noise streams.
        batch_size: noisy images per forward pass; chosen by default from the image size and the
            model's speed. Changes speed only.
        workers: batches evaluated concurrently; by default one per core, two on a GPU. Changes
            speed only.
        deadline: ``time.monotonic()`` after which no new batch is started.

    Attributes:
        failed: errors of the images on which the model failed; they have no outcome.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        sigma: float,
        seed: int,
        batch_size: int | None = None,
        workers: int | None = None,
        deadline: float | None = None,
    ) -> None:
        self.classifier = classifier
        self.sigma = sigma
        self.seed = seed
        self.batch_size = batch_size or default_batch_size(classifier)
        self.workers = workers or default_workers(classifier)
        self.deadline = deadline
        self.drawn = 0
        self.failed: dict[int, Exception] = {}
        self._active: deque[ImageTask] = deque()
        self._capacity = max(self.batch_size, NOISE_BLOCK)
        self._seconds_per_row = 0.0 if batch_size else math.inf  # seconds per row, the best seen
        shape = (self._capacity + NOISE_BLOCK, *classifier.image_shape)
        self._buffers: SimpleQueue[Tensor] = SimpleQueue()
        for _ in range(self.workers):
            self._buffers.put(torch.empty(shape, device=classifier.device))

    @property
    def unfinished(self) -> dict[int, Outcome | None]:
        """Outcomes so far of the images that were started and not finished, by index."""
        return {task.index: task.request.so_far for task in self._active}

    def run(self, tasks: Iterable[ImageTask]) -> Iterator[Finished]:
        """Outcomes of ``tasks``, as they finish; ends early at the deadline."""
        waiting = iter(tasks)
        logits = self.classifier.many_calls()
        with one_torch_thread(), ThreadPoolExecutor(self.workers) as pool:
            pending: deque[PendingBatch] = deque()
            while self._submit(pool, logits, waiting, pending) or pending:
                chunks, votes = pending.popleft()
                finished = self._deliver(chunks, votes.result())
                if len(finished.indices):
                    yield finished

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        logits: Logits,
        waiting: Iterator[ImageTask],
        pending: deque[PendingBatch],
    ) -> bool:
        """Whether a batch was submitted; keeps one batch more than there are workers pending."""
        submitted = False
        while len(pending) <= self.workers:
            if self.deadline is not None and time.monotonic() > self.deadline:
                break
            chunks = self._next_chunks(waiting)
            if not chunks:
                break
            pending.append((chunks, pool.submit(self._votes, logits, chunks)))
            submitted = True
        return submitted

    def _next_chunks(self, waiting: Iterator[ImageTask]) -> list[NoiseChunk]:
        """Chunks of the next batch: the oldest images first, new ones while there is room."""
        chunks: list[NoiseChunk] = []
        room = self._next_batch_size()
        position = 0
        while room >= NOISE_BLOCK:
            if position == len(self._active):
                task = next(waiting, None)
                if task is None:
                    break
                task.accept(next(task.procedure), self.classifier.num_classes)
                self._active.append(task)
            task = self._active[position]
            while room >= NOISE_BLOCK and task.issued < task.request.stop:
                rows = min(NOISE_BLOCK, task.request.stop - task.issued)
                chunks.append(NoiseChunk(task, task.request.stream, task.issued, rows))
                task.issued += rows
                room -= rows
            position += 1
        return chunks

    def _next_batch_size(self) -> int:
        """Size of the next batch; one noise block until the model's speed is known."""
        if self._seconds_per_row == 0.0:
            return self._capacity
        return max(NOISE_BLOCK, min(self._capacity, int(SECONDS_PER_BATCH / self._seconds_per_row)))

    def _votes(self, logits: Logits, chunks: list[NoiseChunk]) -> NDArray[np.int64]:
        """Classes of the draws of ``chunks``, ``FAILED`` where a single chunk fails."""
        try:
            return self._evaluated(logits, chunks)
        except FAILURES as error:
            if len(chunks) == 1:
                self.failed.setdefault(chunks[0].task.index, error)
                return np.full(chunks[0].rows, FAILED)
        return np.concatenate([self._votes(logits, [chunk]) for chunk in chunks])

    def _evaluated(self, logits: Logits, chunks: list[NoiseChunk]) -> NDArray[np.int64]:
        """Classes of the draws of ``chunks``; runs in a worker."""
        buffer = self._buffers.get()
        start = time.perf_counter()
        try:
            images = self._noisy_images(chunks, buffer)
            parts = torch.split(images, self.batch_size)
            votes = torch.cat([classes_of(logits(part)) for part in parts]).cpu().numpy()
            self._seconds_per_row = min(
                self._seconds_per_row, (time.perf_counter() - start) / len(votes)
            )
            return votes
        finally:
            self._buffers.put(buffer)

    def _noisy_images(self, chunks: list[NoiseChunk], buffer: Tensor) -> Tensor:
        """Noisy copies of the images, chunk after chunk, in ``buffer``.

        A block is always drawn whole, because torch's generator gives other numbers when a
        request is cut differently; surplus rows are overwritten by the next chunk.
        """
        filled = 0
        for chunk in chunks:
            stream = generator(
                self.seed,
                chunk.stream,
                chunk.task.index,
                chunk.first // NOISE_BLOCK,
                device=buffer.device,
            )
            block = buffer[filled : filled + NOISE_BLOCK]
            block.normal_(0, self.sigma, generator=stream)
            block[: chunk.rows].add_(chunk.task.x)
            filled += chunk.rows
        return buffer[:filled]

    def _deliver(self, chunks: list[NoiseChunk], votes: NDArray[np.int64]) -> Finished:
        """Count the votes; images with all requested draws continue or finish."""
        classes = self.classifier.num_classes
        self.drawn += len(votes)
        start = 0
        done: list[tuple[int, Outcome]] = []
        for chunk in chunks:
            task, own = chunk.task, votes[start : start + chunk.rows]
            start += chunk.rows
            if FAILED in own and not task.failed:
                task.failed = True
                self._active.remove(task)
            if task.failed:
                continue
            task.counts += np.bincount(own[own != NO_CLASS], minlength=classes)
            task.counted += chunk.rows
            if task.counted < task.request.stop:
                continue
            try:
                task.accept(task.procedure.send(task.counts), classes)
            except StopIteration as end:
                self._active.remove(task)
                done.append((task.index, end.value))
        return Finished(np.array([i for i, _ in done], np.int64), [o for _, o in done])


def default_batch_size(classifier: Classifier) -> int:
    """Noisy images per forward pass: about the same number of values for every image size."""
    on_gpu = classifier.device.type == "cuda"
    values = VALUES_PER_BATCH * (GPU_FACTOR if on_gpu else 1)
    rows = max(4, values // int(np.prod(classifier.image_shape)))
    if rows >= 8:
        rows -= rows % 8
    return rows if on_gpu else min(rows, MOST_ROWS)


def default_workers(classifier: Classifier) -> int:
    """Batches that are evaluated concurrently."""
    if in_worker():
        return 1
    return GPU_WORKERS if classifier.device.type == "cuda" else classifier.runtime.cores
