"""Folders of small photographs of several sizes, in two classes that a tiny network can learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def write_photographs(folder: Path, count: int, *, side: int = 0) -> Path:
    """``count`` PNG files in the class folders ``bright`` and ``dark``; ``side`` for one size."""
    draws = np.random.default_rng(count)
    for number in range(count):
        high, wide = (side, side) if side else draws.integers(9, 24, 2)
        pixels = draws.integers(0, 100, (high, wide, 3)) + 120 * (number % 2)
        place = folder / ("dark", "bright")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:03}.png")
    return folder
