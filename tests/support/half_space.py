"""A classifier whose smoothed version is known: a half-space (spec F13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from robcert.certify.core import Progress, silent
from robcert.certify.data.arrays import ArraySource
from robcert.certify.data.image_set import ImageSet
from robcert.certify.model.classifier import Classifier, ModelInfo
from robcert.certify.session import Session
from robcert.certify.smoothing.analysis import SmoothingSettings, SmoothingSummary, analyse
from robcert.certify.smoothing.analysis import summarise as summary_of
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (1, 2, 3)


class HalfSpace(nn.Module):
    """Class 1 where <w, x> > b with |w| = 1; the l2 distance of x is |<w, x> - b|."""

    def __init__(self) -> None:
        super().__init__()
        w = torch.tensor([2.0, -1.0, 0.0, 2.0, 0.0, 0.0])
        self.w = w / w.norm()

    def distance(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w - 0.5

    def forward(self, x: Tensor) -> Tensor:
        side = self.distance(x)
        return torch.stack([-side, side], dim=1)


@dataclass
class Laboratory:
    """Images around the half-space's border and a place for results."""

    images: ImageSet
    folder: Path

    @property
    def classifier(self) -> Classifier:
        return Classifier.from_module(HalfSpace(), image_shape=SHAPE, num_classes=2)

    @property
    def true_radius(self) -> NDArray[np.float64]:
        x = self.images.pixels(np.arange(len(self.images)))
        return HalfSpace().distance(x).abs().double().numpy()

    def store(self, name: str = "results") -> ResultStore:
        model = ModelInfo(file="half-space", sha256="00", kind="module")
        return ResultStore.open(self.folder / f"{name}.h5", model=model, data=self.images.info)

    def session(
        self,
        store: ResultStore,
        indices: list[int] | None = None,
        *,
        deadline: float | None = None,
        progress: Progress = silent,
    ) -> Session:
        chosen = np.arange(len(self.images)) if indices is None else np.array(indices)
        labels = self.images.labels
        store.add_images(chosen, None if labels is None else labels[chosen])
        return Session(
            self.classifier,
            self.images,
            chosen,
            store,
            progress=progress,
            deadline=deadline,
        )

    def rows(
        self,
        settings: SmoothingSettings,
        *,
        name: str,
        indices: list[int] | None = None,
        batch_size: int | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Columns of a finished run in a results file of its own."""
        with self.store(name) as store:
            session = self.session(store, indices)
            group = store.at(analyse(session, settings, batch_size=batch_size))
            return {column: group.column(column, session.indices) for column in group.columns}

    def summary(self, settings: SmoothingSettings, *, name: str = "results") -> SmoothingSummary:
        with self.store(name) as store:
            return summary_of(store, analyse(self.session(store), settings))


def laboratory(folder: Path, *, n: int = 24, labelled: bool = True, seed: int = 0) -> Laboratory:
    """``n`` uniform images; labels are the sides of the half-space."""
    pixels = np.random.default_rng(seed).random((n, *SHAPE[1:], 1), dtype=np.float32)
    source = ArraySource("half-space", pixels, SHAPE, channels_last=True)
    x = torch.from_numpy(source.read(np.arange(n)))
    labels = (HalfSpace().distance(x) > 0).long().numpy() if labelled else None
    return Laboratory(ImageSet.of("half-space", source, labels), folder)
