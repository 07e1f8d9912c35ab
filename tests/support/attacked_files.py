"""A linear ONNX model, images near grey, and the results file of attacks on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from command_line import robcert
from onnx_models import linear, saved, weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (3, 4, 4)
IMAGES = 6


@dataclass(frozen=True)
class Attacked:
    """Paths of the three files; pixels ``(n, c, h, w)`` and labels of the images."""

    model: Path
    data: Path
    results: Path
    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def inputs(self) -> tuple[object, ...]:
        """The options that name model and images."""
        return ("--model", self.model, "--data", self.data, "--mean", "0.5", "--threads", "1")


def write_inputs(folder: Path, *, wrong: int = 0) -> Attacked:
    """Model and images; the model's own classes are the labels, but for the first ``wrong``."""
    noise = np.random.default_rng(3).normal(size=(IMAGES, *SHAPE))
    pixels = (0.5 + 0.03 * noise).clip(0, 1).astype(np.float32)
    labels = ((pixels - 0.5).reshape(IMAGES, -1) @ weights(5, 48)).argmax(1)
    labels[:wrong] = (labels[:wrong] + 1) % 5
    model = saved(folder, linear())
    data = folder / "images.npz"
    np.savez(data, x=pixels.transpose(0, 2, 3, 1), y=labels)
    return Attacked(model, data, folder / "r.h5", pixels, labels)


def attacked(folder: Path, *options: object, wrong: int = 0) -> Attacked:
    """The same with a results file: PGD in linf and what ``options`` say."""
    made = write_inputs(folder, wrong=wrong)
    command = ("attack", *made.inputs, "--attack", "pgd", "--profile", "quick", "--quiet")
    ended = robcert(*command, "--allow-low-accuracy", "--out", made.results, *options)
    assert ended.status == 0, ended.stderr
    return made
