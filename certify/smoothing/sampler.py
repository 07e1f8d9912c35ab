"""Class counts of noisy copies of many images, in full batches.

One queue of images feeds the runtime: an image that needs two hundred draws and one that needs a
hundred thousand share batches, so the device never waits for one image. Each processor core draws
the noise of a batch of its own and asks the runtime about it at once, in one thread: the noise is
still in the core's cache, no core waits for another, and nothing but counts is kept.

Noise comes in blocks of 64 draws, each from its own generator (seed, stream, image, block), and an
image is looked at only where its procedure says. So the counts do not depend on the batch size, on
the number of workers, on the order of the images, or on where a run was taken up again.
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
from robcert.certify.numerics import NOISE_BLOCK, generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from robcert.certify.model import Classifier, Logits

    from .procedures import Draws, Outcome, Procedure

VALUES_PER_BATCH = 256 * 3 * 32 * 32
"""Pixel values that one forward pass gets by default on a CPU."""

GPU_FACTOR = 32
MOST_ROWS = 512
"""Larger batches bring no speed on a CPU."""

SECONDS_A_BATCH = 0.25
"""What a deadline can be overrun by; more rows a batch bring no speed where they take so long."""

GPU_WORKERS = 2
"""One batch is counted and drawn while the device works on the other."""


@dataclass(slots=True)
class Job:
    """One image in the queue.

    Attributes:
        index: its position in the data set; names its noise.
        x: pixels ``(c, h, w)``.
        procedure: what to draw.
    """

    index: int
    x: Tensor
    procedure: Procedure
    request: Draws = field(init=False)
    issued: int = field(init=False)
    counted: int = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    failed: bool = False

    def ask(self, request: Draws, classes: int) -> None:
        """Take ``request`` as the next thing to be drawn."""
        self.request = request
        self.issued = self.counted = request.start
        self.counts = np.zeros(classes, np.int64)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a noise block in a batch: draws ``first`` to ``first + rows`` of a stream."""

    job: Job
    stream: str
    first: int
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """Images whose procedures ended, and what they returned."""

    indices: NDArray[np.int64]
    outcomes: list[Outcome]

    def part(self, at: NDArray[np.int64]) -> Finished:
        """Those at the positions ``at``."""
        return Finished(self.indices[at], [self.outcomes[place] for place in at])


NO_VOTE = -1
"""Class of a draw that the model failed on."""

Ahead = tuple["list[Piece]", "Future[NDArray[np.int64]]"]
"""A batch that was given to a worker, and its votes to come."""


class Sampler:
    """Runs procedures on images.

    Args:
        classifier: its runtime is asked.
        sigma: standard deviation of the noise, in pixel units; the noise is not clipped.
        seed: seed of all noise streams.
        batch_size: noisy images in one forward pass; by default as many as their size and the
            model's pace suggest. Changes speed only.
        workers: batches that are worked on at once; by default one a core, two on a GPU. Changes
            speed only.
        deadline: ``time.monotonic()`` after which no further batch is begun.

    Attributes:
        failed: images that the model failed on and its errors; they have no outcome.
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
        self._active: deque[Job] = deque()
        self._capacity = max(self.batch_size, NOISE_BLOCK)
        self._pace = 0.0 if batch_size else math.inf  # seconds a row, the best seen
        shape = (self._capacity + NOISE_BLOCK, *classifier.image_shape)
        self._buffers: SimpleQueue[Tensor] = SimpleQueue()
        for _ in range(self.workers):
            self._buffers.put(torch.empty(shape, device=classifier.device))

    @property
    def unfinished(self) -> dict[int, Outcome | None]:
        """What is known of the images that were begun and not finished, by index."""
        return {job.index: job.request.so_far for job in self._active}

    def run(self, jobs: Iterable[Job]) -> Iterator[Finished]:
        """Outcomes of ``jobs``, as they finish; ends early at the deadline."""
        waiting = iter(jobs)
        logits = self.classifier.many_calls()
        with one_torch_thread(), ThreadPoolExecutor(self.workers) as pool:
            ahead: deque[Ahead] = deque()
            while self._submit(pool, logits, waiting, ahead) or ahead:
                pieces, votes = ahead.popleft()
                finished = self._deliver(pieces, votes.result())
                if len(finished.indices):
                    yield finished

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        logits: Logits,
        waiting: Iterator[Job],
        ahead: deque[Ahead],
    ) -> bool:
        """Give each worker a batch and one to go on with; whether there was any to give."""
        given = False
        while len(ahead) <= self.workers:
            if self.deadline is not None and time.monotonic() > self.deadline:
                break
            pieces = self._next_pieces(waiting)
            if not pieces:
                break
            ahead.append((pieces, pool.submit(self._votes, logits, pieces)))
            given = True
        return given

    def _next_pieces(self, waiting: Iterator[Job]) -> list[Piece]:
        """Pieces of the next batch: the oldest images first, new ones while there is room."""
        pieces: list[Piece] = []
        room = self._room()
        position = 0
        while room >= NOISE_BLOCK:
            if position == len(self._active):
                job = next(waiting, None)
                if job is None:
                    break
                job.ask(next(job.procedure), self.classifier.num_classes)
                self._active.append(job)
            job = self._active[position]
            while room >= NOISE_BLOCK and job.issued < job.request.stop:
                rows = min(NOISE_BLOCK, job.request.stop - job.issued)
                pieces.append(Piece(job, job.request.stream, job.issued, rows))
                job.issued += rows
                room -= rows
            position += 1
        return pieces

    def _room(self) -> int:
        """Rows of the next batch; one noise block until the model's pace is known."""
        if self._pace == 0.0:
            return self._capacity
        return max(NOISE_BLOCK, min(self._capacity, int(SECONDS_A_BATCH / self._pace)))

    def _votes(self, logits: Logits, pieces: list[Piece]) -> NDArray[np.int64]:
        """Classes of the draws of ``pieces``, ``NO_VOTE`` for those of a piece that fails alone."""
        try:
            return self._asked(logits, pieces)
        except FAILURES as error:
            if len(pieces) == 1:
                self.failed.setdefault(pieces[0].job.index, error)
                return np.full(pieces[0].rows, NO_VOTE)
        return np.concatenate([self._votes(logits, [piece]) for piece in pieces])

    def _asked(self, logits: Logits, pieces: list[Piece]) -> NDArray[np.int64]:
        """Classes of the draws of ``pieces``; runs in a worker."""
        buffer = self._buffers.get()
        start = time.perf_counter()
        try:
            images = self._noisy_images(pieces, buffer)
            parts = torch.split(images, self.batch_size)
            votes = torch.cat([logits(part).argmax(1) for part in parts]).cpu().numpy()
            self._pace = min(self._pace, (time.perf_counter() - start) / len(votes))
            return votes
        finally:
            self._buffers.put(buffer)

    def _noisy_images(self, pieces: list[Piece], buffer: Tensor) -> Tensor:
        """Noisy copies of the images, piece after piece, in ``buffer``.

        A block is always drawn whole, because torch's generator gives other numbers when a
        request is cut differently; rows that are not wanted are overwritten by the next piece.
        """
        filled = 0
        for piece in pieces:
            stream = generator(
                self.seed,
                piece.stream,
                piece.job.index,
                piece.first // NOISE_BLOCK,
                device=buffer.device,
            )
            block = buffer[filled : filled + NOISE_BLOCK]
            block.normal_(0, self.sigma, generator=stream)
            block[: piece.rows].add_(piece.job.x)
            filled += piece.rows
        return buffer[:filled]

    def _deliver(self, pieces: list[Piece], votes: NDArray[np.int64]) -> Finished:
        """Count the votes; images that have all they asked for go on or finish."""
        classes = self.classifier.num_classes
        self.drawn += len(votes)
        start = 0
        done: list[tuple[int, Outcome]] = []
        for piece in pieces:
            job, own = piece.job, votes[start : start + piece.rows]
            start += piece.rows
            if NO_VOTE in own and not job.failed:
                job.failed = True
                self._active.remove(job)
            if job.failed:
                continue
            job.counts += np.bincount(own, minlength=classes)
            job.counted += piece.rows
            if job.counted < job.request.stop:
                continue
            try:
                job.ask(job.procedure.send(job.counts), classes)
            except StopIteration as end:
                self._active.remove(job)
                done.append((job.index, end.value))
        return Finished(np.array([i for i, _ in done], np.int64), [o for _, o in done])


def default_batch_size(classifier: Classifier) -> int:
    """Noisy images in one forward pass: about the same number of values for every image size."""
    on_gpu = classifier.device.type == "cuda"
    values = VALUES_PER_BATCH * (GPU_FACTOR if on_gpu else 1)
    rows = max(4, values // int(np.prod(classifier.image_shape)))
    if rows >= 8:
        rows -= rows % 8
    return rows if on_gpu else min(rows, MOST_ROWS)


def default_workers(classifier: Classifier) -> int:
    """Batches that are worked on at once."""
    return GPU_WORKERS if classifier.device.type == "cuda" else classifier.runtime.cores
