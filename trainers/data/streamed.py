"""Training images that are read as they are needed, by processes of torch's data loader."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robcert.certify.data import FileSource, ImageSet
from robcert.certify.errors import DataError, RobcertError
from robcert.certify.numerics import generator

from .images import EpochDraws, channel_statistics, on_device
from .photographs import square

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

MOST_READERS = 8
"""Processes that read images, by default; more fill the memory with batches that wait."""

STATISTICS = 10_000
"""Photographs whose mean and standard deviation stand for those of all."""

_READ = 256


@dataclass(frozen=True, slots=True)
class StreamedImages:
    """Labelled images that are read as they are needed.

    Which image is in which batch, and every random number, is settled before processes read them:
    the batches do not depend on the number of processes.

    Attributes:
        files: the data set.
        rows: those of its images that belong to this part ``(n,)``.
        image_size: side of the squares cut out of photographs; 0 if all images have one size.
        workers: processes that read images; 0 for this one.
        test_name: name of the data set of the corresponding test images; empty if it is ``name``.
    """

    files: ImageSet
    rows: Tensor
    image_size: int = 0
    workers: int = 0
    test_name: str = ""

    @classmethod
    def of(cls, files: ImageSet, *, image_size: int = 0, workers: int = 0) -> StreamedImages:
        """All images of ``files``."""
        return cls(files, torch.arange(len(files)), image_size, workers)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.files.name

    @property
    def sha256(self) -> str:
        """Hash that identifies the data set."""
        return self.files.sha256

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of one image."""
        channels, height, width = self.files.shape
        side = self.image_size
        return (channels, side, side) if side else (channels, height, width)

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""
        return int(self._labels(self.rows).max()) + 1

    def first(self, count: int | None) -> StreamedImages:
        """The first ``count`` images, or all."""
        return self if count is None else replace(self, rows=self.rows[:count])

    def at(self, rows: Tensor, *, test_name: str = "") -> StreamedImages:
        """The images at ``rows``, which stand for those of the data set ``test_name``."""
        return replace(self, rows=self.rows[rows], test_name=test_name)

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pixels in [0, 1] and labels of the images at ``indices``, for evaluation, read here."""
        (found,) = replace(self, workers=0).batches([indices], device)
        return found

    def batches(
        self, order: Sequence[Tensor], device: torch.device, draws: EpochDraws | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels in [0, 1] and labels of the images at each entry of ``order``.

        Args:
            order: indices of the images of each batch.
            device: where the batches are needed.
            draws: random numbers for training; None for evaluation.

        Raises:
            DataError: an image cannot be read, or a process that reads them has ended.
        """
        pinned = device.type == "cuda"
        for indices, pixels in zip(order, self._pieces(order, draws, pinned=pinned), strict=True):
            yield on_device(pixels, self._labels(self.rows[indices]), device)

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel; of photographs, of a random 10,000."""
        rows = torch.arange(len(self))
        if self.image_size and len(self) > STATISTICS:
            draws = generator(0, "train-statistics", len(self))
            rows = torch.randperm(len(self), generator=draws)[:STATISTICS].sort().values
        return channel_statistics(self._pieces(torch.split(rows, _READ), None))

    def _labels(self, rows: Tensor) -> Tensor:
        assert self.files.labels is not None
        return torch.from_numpy(self.files.labels)[rows]

    def _pieces(
        self, order: Sequence[Tensor], draws: EpochDraws | None, *, pinned: bool = False
    ) -> Iterator[Tensor]:
        """Pixels of each batch, uint8 or float32."""
        reader = BatchReader(self.files, self.image_size, draws)
        wanted = (self.rows[indices].tolist() for indices in order)
        workers = min(self.workers, len(order))
        batches = _by_workers(reader, wanted, workers, pinned=pinned) if workers else None
        for found in batches or map(reader.__getitems__, wanted):
            if isinstance(found, Unreadable):
                raise DataError(found.message, hint=found.hint)
            yield found


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a batch could not be read; the data loader would change the text of an error."""

    message: str
    hint: str


@dataclass(frozen=True)
class BatchReader(Dataset[Tensor]):
    """Reads batches, in whichever process.

    Attributes:
        files: the data set.
        image_size: side of the squares cut out of photographs; 0 if all images have one size.
        draws: random numbers for training; None for evaluation.
    """

    files: ImageSet
    image_size: int
    draws: EpochDraws | None

    def __getitems__(self, rows: list[int]) -> Tensor | Unreadable:
        """Pixels ``(b, c, h, w)`` of the images at ``rows``, uint8 or float32."""
        try:
            source = self.files.source
            if not isinstance(source, FileSource):
                return as_stored(self.files.pixels(np.array(rows, np.int64)))
            if not self.image_size:
                return torch.from_numpy(np.stack([source.decoded(row) for row in rows]))
            squares = [
                square(source.photograph(row), self.image_size, self.draws, row) for row in rows
            ]
            return torch.stack([_pixels(image) for image in squares])
        except RobcertError as error:
            return Unreadable(str(error), error.hint)


def as_stored(pixels: Tensor) -> Tensor:
    """``pixels`` in [0, 1] as uint8 if they are multiples of 1/255, else as they are."""
    as_bytes = (pixels * 255).round().to(torch.uint8)
    return as_bytes if torch.equal(as_bytes.float() / 255, pixels) else pixels


def usual_readers(processes: int = 1) -> int:
    """Processes that read images for each of the training processes, which divide the cores."""
    return max(1, min(MOST_READERS, (os.cpu_count() or 1) // processes))


@contextlib.contextmanager
def living_readers() -> Iterator[None]:
    """Convert the death of a process that reads images, which torch raises at any time.

    Raises:
        DataError: one has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        message = "a process that reads images has ended, or was killed for want of memory"
        hint = "use fewer --workers (0 reads in the training itself); --resume continues the run"
        raise DataError(message, hint=hint) from error


def _by_workers(
    reader: BatchReader, wanted: Iterator[list[int]], workers: int, *, pinned: bool
) -> Iterator[Any]:
    """What ``reader`` reads in ``workers`` processes, in the order of ``wanted``."""
    with warnings.catch_warnings(), living_readers():
        # of more processes than cores, and newer Pythons of forks beside threads
        warnings.simplefilter("ignore")
        loader = DataLoader(
            reader,
            batch_sampler=wanted,  # iterated over once
            num_workers=workers,
            collate_fn=_itself,
            pin_memory=pinned,
            worker_init_fn=_ignore_interrupts,
            generator=torch.Generator(),  # torch's own would be drawn from
            multiprocessing_context="fork" if sys.platform == "linux" else None,
        )
        batches = iter(loader)
    while True:
        with living_readers():
            try:
                found = next(batches)
            except StopIteration:
                return
        yield found


def _itself(batch: Any) -> Any:
    return batch


def _ignore_interrupts(_worker: int) -> None:
    """Leave Ctrl-C to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _pixels(image: Image.Image) -> Tensor:
    """``image`` as uint8 ``(c, h, w)``."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
