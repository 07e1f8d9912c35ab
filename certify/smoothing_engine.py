"""Class counts of noisy copies of many images, in full batches.

One queue of images feeds the runtime: an image that needs two hundred draws and one that needs a
hundred thousand share batches, so the device never waits for one image. Noise is drawn by a
second thread while the runtime works on the batch before. Only counts are kept.

Noise comes in blocks of 64 draws, each from its own generator (seed, stream, image, block), and an
image is looked at only where its procedure says. So the counts do not depend on the batch size,
on the order of the images, or on where a run was taken up again.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .sampling import NOISE_BLOCK, generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from .classifier import Classifier
    from .smoothing_procedures import Draws, Outcome, Procedure

VALUES_PER_BATCH = 256 * 3 * 32 * 32
"""Pixel values that one forward pass gets by default on a CPU."""

GPU_FACTOR = 32
MOST_ROWS = 512
"""Larger batches bring no speed, and their buffers are paged in anew each time."""


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


class Sampler:
    """Runs procedures on images.

    Args:
        classifier: its runtime is asked.
        sigma: standard deviation of the noise, in pixel units; the noise is not clipped.
        seed: seed of all noise streams.
        batch_size: noisy images in one forward pass; changes speed only.
        deadline: ``time.monotonic()`` after which no further batch is begun.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        sigma: float,
        seed: int,
        batch_size: int | None = None,
        deadline: float | None = None,
    ) -> None:
        self.classifier = classifier
        self.sigma = sigma
        self.seed = seed
        self.batch_size = batch_size or default_batch_size(classifier)
        self.deadline = deadline
        self.drawn = 0
        self._active: deque[Job] = deque()
        rows = max(self.batch_size, NOISE_BLOCK)
        self._capacity = rows
        shape = (rows + NOISE_BLOCK, *classifier.image_shape)
        self._buffers = [torch.empty(shape, device=classifier.device) for _ in range(2)]

    @property
    def unfinished(self) -> dict[int, Outcome | None]:
        """What is known of the images that were begun and not finished, by index."""
        return {job.index: job.request.so_far for job in self._active}

    def run(self, jobs: Iterable[Job]) -> Iterator[Finished]:
        """Outcomes of ``jobs``, as they finish; ends early at the deadline."""
        waiting = iter(jobs)
        with self.classifier.forward_only(), ThreadPoolExecutor(1) as noise:
            ahead = self._submit(noise, waiting)
            while ahead is not None:
                pieces, images = ahead.result()
                ahead = self._submit(noise, waiting)  # before the votes: noise overlaps the model
                finished = self._deliver(pieces, self._votes(images))
                if len(finished.indices):
                    yield finished
                if ahead is None:
                    ahead = self._submit(noise, waiting)

    def _submit(
        self, noise: ThreadPoolExecutor, waiting: Iterator[Job]
    ) -> Future[tuple[list[Piece], Tensor]] | None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            return None
        pieces = self._next_pieces(waiting)
        if not pieces:
            return None
        self._buffers.reverse()
        return noise.submit(self._noisy_images, pieces, self._buffers[0])

    def _next_pieces(self, waiting: Iterator[Job]) -> list[Piece]:
        """Pieces of the next batch: the oldest images first, new ones while there is room."""
        pieces: list[Piece] = []
        room = self._capacity
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

    def _noisy_images(self, pieces: list[Piece], buffer: Tensor) -> tuple[list[Piece], Tensor]:
        """Fill ``buffer`` with x + noise, piece after piece.

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
        return pieces, buffer[:filled]

    def _votes(self, images: Tensor) -> NDArray[np.int64]:
        votes = [self.classifier.logits(x).argmax(1) for x in torch.split(images, self.batch_size)]
        self.drawn += len(images)
        return torch.cat(votes).cpu().numpy()

    def _deliver(self, pieces: list[Piece], votes: NDArray[np.int64]) -> Finished:
        """Count the votes; images that have all they asked for go on or finish."""
        classes = self.classifier.num_classes
        start = 0
        done: list[tuple[int, Outcome]] = []
        for piece in pieces:
            job = piece.job
            job.counts += np.bincount(votes[start : start + piece.rows], minlength=classes)
            job.counted += piece.rows
            start += piece.rows
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
    values = VALUES_PER_BATCH * (GPU_FACTOR if classifier.device.type == "cuda" else 1)
    rows = max(1, values // int(np.prod(classifier.image_shape)))
    return max(4, min(rows - rows % 8 if rows >= 8 else rows, MOST_ROWS))
