"""Training images and what a run asks of them, those in memory, and the order of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from robcert.certify.errors import DataError
from robcert.certify.numerics import generator

from .process_slice import WHOLE_BATCH, ProcessSlice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class EpochDraws:
    """The random numbers of one epoch for images that are cut out of photographs.

    Attributes:
        seed: seed of the run.
        epoch: passes over the data before this one.
    """

    seed: int
    epoch: int

    def of(self, image: int) -> torch.Generator:
        """Those for one image; they do not depend on who reads it, nor when."""
        return generator(self.seed, "train-resized-crop", image, self.epoch)


class LabelledImages(Protocol):
    """Labelled images in [0, 1], in memory or read as needed."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def sha256(self) -> str:
        """Hash that identifies it; empty if unknown."""

    @property
    def test_name(self) -> str:
        """Name of the corresponding test set; empty if it is ``name``."""

    def __len__(self) -> int: ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of one image."""

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""

    def first(self, count: int | None) -> LabelledImages:
        """The first ``count`` images, or all."""

    def at(self, rows: Tensor, *, test_name: str = "") -> LabelledImages:
        """The images at ``rows``, which stand for those of the data set ``test_name``."""

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pixels ``(b, c, h, w)`` and labels ``(b,)`` of the images at ``indices``."""

    def batches(
        self, order: Sequence[Tensor], device: torch.device, draws: EpochDraws | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and labels of the images at each entry of ``order``.

        Args:
            order: indices of the images of each batch.
            device: where the batches are needed.
            draws: random numbers for training; None for evaluation.

        Raises:
            DataError: an image cannot be read.
        """

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, see the function of this name."""


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """Labelled images in memory.

    Attributes:
        pixels: ``(n, c, h, w)``, uint8 from 0 to 255 or float32 from 0 to 1.
        labels: int64 ``(n,)``.
        name: name of the data set.
        sha256: hash of the content; empty if unknown.
        test_name: name of the data set of the corresponding test images; empty if it is ``name``.
    """

    pixels: Tensor
    labels: Tensor
    name: str = ""
    sha256: str = ""
    test_name: str = ""

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.labels) or len(self.pixels) == 0:
            message = f"got {len(self.pixels)} images and {len(self.labels)} labels to train on"
            raise DataError(message)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of one image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""
        return int(self.labels.max()) + 1

    def first(self, count: int | None) -> TrainingImages:
        """The first ``count`` images, or all."""
        if count is None or count >= len(self):
            return self
        return replace(self, pixels=self.pixels[:count], labels=self.labels[:count])

    def at(self, rows: Tensor, *, test_name: str = "") -> TrainingImages:
        """A copy of the images at ``rows``, which stand for those of the set ``test_name``."""
        return replace(
            self, pixels=self.pixels[rows], labels=self.labels[rows], test_name=test_name
        )

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pixels in [0, 1] ``(b, c, h, w)`` and labels ``(b,)`` of the images at ``indices``."""
        return on_device(self.pixels[indices], self.labels[indices], device)

    def batches(
        self, order: Sequence[Tensor], device: torch.device, draws: EpochDraws | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels in [0, 1] and labels of the images at each entry of ``order``; draws nothing."""
        del draws
        return (self.batch(indices, device) for indices in order)

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel of all images."""
        return channel_statistics([self.pixels])


def on_device(pixels: Tensor, labels: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """``pixels``, uint8 or in [0, 1], and ``labels`` on ``device``; the pixels in [0, 1]."""
    x = pixels.to(device, non_blocking=True)
    if x.dtype == torch.uint8:
        x = x.float() / 255
    return x, labels.to(device, non_blocking=True)


def in_order(
    images: LabelledImages,
    batch_size: int,
    device: torch.device,
    process_slice: ProcessSlice = WHOLE_BATCH,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number, pixels and labels of batches of all images, in their order.

    Of ``process_slice.count`` processes each gets every so many of them.
    """
    numbers = range(process_slice.rank, -(-len(images) // batch_size), process_slice.count)
    split = torch.split(torch.arange(len(images)), batch_size)
    batches = images.batches([split[number] for number in numbers], device)
    for number, (x, y) in zip(numbers, batches, strict=True):
        yield number, x, y


def epoch_order(count: int, batch_size: int, *, seed: int, epoch: int) -> list[Tensor]:
    """Image indices of each batch of one epoch, shuffled; an incomplete last batch is dropped.

    The order depends on (seed, epoch) alone, so that a resumed run sees the same batches.
    """
    order = torch.randperm(count, generator=generator(seed, "train-order", epoch))
    if count < batch_size:
        return [order]
    return list(torch.split(order[: count // batch_size * batch_size], batch_size))


def channel_statistics(pieces: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of ``pieces (n, c, h, w)``, to four decimals.

    In units of [0, 1]. For uint8 pixels a histogram is used, which needs no copy in floats.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    values = torch.arange(256, dtype=torch.float64) / 255
    for pixels in pieces:
        count += pixels.numel() // pixels.shape[1]
        if pixels.dtype == torch.uint8:
            planes = [plane.flatten().bincount(minlength=256) for plane in pixels.unbind(1)]
            frequency = torch.stack(planes).double()
            total, squares = total + frequency @ values, squares + frequency @ values.square()
        else:
            plane = pixels.double().transpose(0, 1).flatten(1)
            total, squares = total + plane.sum(1), squares + plane.square().sum(1)
    mean, square = total / count, squares / count
    std = (square - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())
