"""Random changes of training images, made on a whole batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.errors import require_at_least

from .process_slice import WHOLE_BATCH, ProcessSlice


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
