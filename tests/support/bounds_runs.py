"""Runs of the bounds analysis on models whose L and omega are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from robcert.certify.core import Norm
from robcert.certify.data.arrays import from_arrays
from robcert.certify.model.classifier import Classifier
from robcert.certify.radius_bounds.analysis import BoundsSettings, analyse
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.store.group import AnalysisGroup

SETTINGS = BoundsSettings(
    Norm.L2, 0.4, blocks=30, block_size=10, points=5, steps=8, restarts=1, rho_steps=8
)
WEIGHT = torch.tensor([[3.0, -4.0], [0.0, 0.0]])


def images(n: int = 400, *, labels: bool = True) -> ImageSet:
    pixels = np.random.default_rng(0).uniform(0, 1, (n, 1, 1, 2)).astype(np.float32)
    return from_arrays("test", pixels, np.zeros(n, np.int64) if labels else None)


def linear(weight: torch.Tensor = WEIGHT, *, temperature: float = 1.0) -> Classifier:
    layer = nn.Linear(2, len(weight), bias=False)
    layer.weight = nn.Parameter(weight / temperature)
    return Classifier.from_module(
        nn.Sequential(nn.Flatten(), layer), image_shape=(1, 1, 2), num_classes=len(weight)
    )


@dataclass
class Run:
    folder: Path
    classifier: Classifier
    images: ImageSet
    batch_size: int = 64

    def __call__(
        self,
        settings: BoundsSettings,
        *,
        indices: np.ndarray | None = None,
        refit: bool = False,
        errors_at: tuple[float, ...] = (),
    ) -> tuple[ResultStore, AnalysisGroup]:
        path, model = self.folder / "r.h5", self.classifier
        store = ResultStore.open(path, model=model.info, data=self.images.info)
        wanted = np.arange(40) if indices is None else indices
        session = Session(model, self.images, wanted, store, batch_size=self.batch_size)
        try:
            return store, store.at(analyse(session, settings, refit=refit, errors_at=errors_at))
        except BaseException:
            store.close()
            raise


def curved(x: torch.Tensor) -> torch.Tensor:
    """Margin loss ½‖x‖² - ½ of F8: class 0 inside the unit circle."""
    return 0.5 * (x * x).sum(1) - 0.5


def run_lengths(data: ImageSet, n: int) -> np.ndarray:
    return np.asarray(data.pixels(np.arange(n)).flatten(1).norm(dim=1))
