"""Training images in memory, their order in each epoch, and their augmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.errors import DataError, require_at_least
from robcert.certify.numerics import generator

from .process_slice import WHOLE_BATCH, ProcessSlice

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of a training image, applied in the order flip, crop, cutout.

    Attributes:
        crop: pixels of zero padding before a random crop to the original size.
        flip: whether each image is mirrored left to right with probability one half.
        cutout: side of a square at a random place that is set to zero (DeVries & Taylor 2017); 0
            for none.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        require_at_least("crop", self.crop, 0)
        require_at_least("cutout", self.cutout, 0)

    def __call__(
        self, x: Tensor, draws: torch.Generator, process_slice: ProcessSlice = WHOLE_BATCH
    ) -> Tensor:
        """The augmented pixels of ``x (b, c, h, w)``.

        Args:
            x: pixels.
            draws: generator of the random numbers, on the CPU.
            process_slice: the rows of the whole batch that ``x`` has.
        """
        count = process_slice.count * len(x)
        if self.flip:
            mirrored = process_slice.of(torch.rand(count, generator=draws)) < 0.5
            x = torch.where(mirrored.view(-1, 1, 1, 1).to(x.device), x.flip(3), x)
        if self.crop:
            shift = torch.randint(2 * self.crop + 1, (2, count), generator=draws)
            x = _cropped(x, self.crop, process_slice.of(shift, axis=1).to(x.device))
        if self.cutout:
            height, width = x.shape[2:]
            centre = [torch.randint(side, (count,), generator=draws) for side in (height, width)]
            rows, columns = (process_slice.of(c).to(x.device).view(-1, 1, 1, 1) for c in centre)
            x = x * _cutout_mask(x, self.cutout, rows, columns)
        return x


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

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pixels in [0, 1] ``(b, c, h, w)`` and labels ``(b,)`` of the images at ``indices``."""
        x = self.pixels[indices].to(device, non_blocking=True)
        if x.dtype == torch.uint8:
            x = x.float() / 255
        return x, self.labels[indices].to(device, non_blocking=True)

    def in_order(self, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of all images, in their order."""
        for indices in torch.split(torch.arange(len(self)), batch_size):
            yield self.batch(indices, device)


def epoch_order(count: int, batch_size: int, *, seed: int, epoch: int) -> list[Tensor]:
    """Image indices of each batch of one epoch, shuffled; an incomplete last batch is dropped.

    The order depends on (seed, epoch) alone, so that a resumed run sees the same batches.
    """
    order = torch.randperm(count, generator=generator(seed, "train-order", epoch))
    if count < batch_size:
        return [order]
    return list(torch.split(order[: count // batch_size * batch_size], batch_size))


def channel_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of ``pixels (n, c, h, w)``, to four decimals.

    In units of [0, 1]. For uint8 pixels a histogram is used, which needs no copy in floats.
    """
    if pixels.dtype == torch.uint8:
        counts = torch.stack(
            [plane.flatten().bincount(minlength=256) for plane in pixels.unbind(1)]
        )
        frequency = counts.double() / counts.sum(1, keepdim=True)
        values = torch.arange(256, dtype=torch.float64) / 255
        mean, square = frequency @ values, frequency @ values.square()
    else:
        planes = pixels.double().transpose(0, 1).flatten(1)
        mean, square = planes.mean(1), planes.square().mean(1)
    std = (square - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())


def _cropped(x: Tensor, padding: int, shift: Tensor) -> Tensor:
    """Each image of ``x``, padded with zeros and cropped at its ``shift (2, b)``."""
    b, _, h, w = x.shape
    padded = functional.pad(x, (padding,) * 4)
    rows = (shift[0, :, None] + torch.arange(h, device=x.device))[:, None, :, None]
    columns = (shift[1, :, None] + torch.arange(w, device=x.device))[:, None, None, :]
    image = torch.arange(b, device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
    return padded[image, channel, rows, columns]


def _cutout_mask(x: Tensor, side: int, centre_y: Tensor, centre_x: Tensor) -> Tensor:
    """Mask with 0 in a square of ``side`` pixels around each centre, 1 elsewhere."""
    h, w = x.shape[2:]
    rows = torch.arange(h, device=x.device).view(1, 1, -1, 1)
    columns = torch.arange(w, device=x.device).view(1, 1, 1, -1)
    low, high = side // 2, side - side // 2
    inside_y = (rows >= centre_y - low) & (rows < centre_y + high)
    inside_x = (columns >= centre_x - low) & (columns < centre_x + high)
    return (~(inside_y & inside_x)).to(x.dtype)
