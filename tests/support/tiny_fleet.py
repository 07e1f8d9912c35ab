"""Tiny linear models on the same images, from accurate ones to ones that guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper
from onnx_models import linear, saved, weights

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, CLASSES = (3, 4, 4), 5
ONLY_ATTACK = ("--only", "attack", "--profile", "quick", "--eps", "2/255")


@dataclass(frozen=True)
class TinyFleet:
    """Folder of the models, file of the images."""

    folder: Path
    data: Path

    @property
    def options(self) -> tuple[object, ...]:
        """Options of an audit of all models."""
        return (*self.inputs, "--model", self.folder)

    @property
    def inputs(self) -> tuple[object, ...]:
        """Options of an audit without those that name models."""
        return ("--data", self.data, *ONLY_ATTACK, "--allow-low-accuracy")


def write_fleet(folder: Path, count: int, images: int = 12) -> TinyFleet:
    """Models ``m00.onnx``, …: the first labels the images, the weights of the others have noise."""
    draws = np.random.default_rng(11)
    base = weights(CLASSES, int(np.prod(SHAPE)))
    models = folder / "models"
    models.mkdir()
    for number in range(count):
        noise = draws.normal(size=base.shape) * 2 * number / max(1, count - 1)
        made = linear()
        (held,) = made.graph.initializer
        held.CopyFrom(numpy_helper.from_array((base + noise).astype(np.float32), held.name))
        saved(models, made, f"m{number:02}.onnx")
    pixels = (0.5 + 0.1 * draws.normal(size=(images, *SHAPE))).clip(0, 1).astype(np.float32)
    labels = (pixels.reshape(images, -1) @ base).argmax(1)
    data = folder / "images.npz"
    np.savez(data, x=pixels.transpose(0, 2, 3, 1), y=labels)
    return TinyFleet(models, data)
