"""Copies of images in a set are told, because they are no independent sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from robcert.certify.data.load import from_arrays, load_images

if TYPE_CHECKING:
    from pathlib import Path


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 4, 4), np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_copies_are_counted_wherever_they_stand(dtype: type) -> None:
    pixels = np.concatenate([noise(100), noise(100)[[3, 3, 50, 51, 52, 99]]])
    pixels = pixels if dtype is np.uint8 else (pixels / 255).astype(np.float32)
    (doubt,) = from_arrays("noise", pixels, np.zeros(106, int)).doubts
    assert doubt.startswith("6 of 106 images are copies of another one")
    assert not from_arrays("noise", pixels[:100], np.zeros(100, int)).doubts


def test_five_in_a_hundred_are_usual() -> None:
    pixels = np.concatenate([noise(95), noise(5)])
    assert not from_arrays("noise", pixels, np.zeros(100, int)).doubts


def test_copies_in_a_folder_are_counted(tmp_path: Path) -> None:
    for place, pixels in enumerate([*noise(3), noise(1)[0]]):
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
    (doubt,) = load_images(str(tmp_path)).doubts
    assert doubt.startswith("1 of 4 images are copies")
