"""Squares cut out of photographs of any size, for training and for evaluation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from PIL import Image

from robcert.certify.data import centre_crop

if TYPE_CHECKING:
    from .images import EpochDraws

SMALLEST_AREA = 0.08
"""Smallest part of the photograph that a random crop covers (Szegedy et al. 2015)."""

RATIO = 4 / 3
"""Largest ratio of its sides."""

TRIES = 10
"""Draws of a crop that may stick out of the photograph before its centre is taken."""


def square(
    photograph: Image.Image, side: int, draws: EpochDraws | None, number: int
) -> Image.Image:
    """A square of ``side`` pixels of ``photograph``, as is usual for ImageNet.

    For training a random crop is resized. For evaluation the shorter side is resized to 8/7 of
    ``side`` (224: 256), and the centre is cut out.

    Args:
        photograph: decoded.
        side: pixels.
        draws: random numbers of the epoch; None for evaluation.
        number: of the photograph in its data set.
    """
    if draws is None:
        return centre_crop(photograph, round(side * 8 / 7), (side, side))
    box = random_box(photograph.width, photograph.height, draws.of(number))
    return photograph.crop(box).resize((side, side), Image.Resampling.BILINEAR)


def random_box(width: int, height: int, draws: torch.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random crop, distributed as torchvision's.

    Its area is uniform between 8 % and all of the photograph's, the logarithm of its ratio uniform
    between those of 3/4 and 4/3, and its place uniform.
    """
    for _ in range(TRIES):
        area, ratio, x, y = torch.rand(4, generator=draws, dtype=torch.float64).tolist()
        covered = width * height * (SMALLEST_AREA + (1 - SMALLEST_AREA) * area)
        root = math.exp((ratio - 0.5) * math.log(RATIO))  # of the ratio
        wide, high = round(math.sqrt(covered) * root), round(math.sqrt(covered) / root)
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(x * (width - wide + 1)), int(y * (height - high + 1))
            return left, top, left + wide, top + high
    wide, high = min(width, round(height * RATIO)), min(height, round(width * RATIO))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high
