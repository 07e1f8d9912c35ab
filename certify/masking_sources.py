"""Models whose adversarial images are tried on the audited one: bundled ones that fit, or a pupil.

A bundled model fits if it takes the same images, has the same classes and agrees with the audited
one on the given images; where none does, a surrogate is distilled.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from .masking_surrogate import NAME, distilled
from .models import load_classifier

if TYPE_CHECKING:
    from .classifier import Classifier
    from .image_set import ImageSet
    from .masking_evidence import MaskingSettings

LEAST_AGREEMENT = 0.5
"""Share of images that a bundled model must see as the audited one does, to be a source for it."""

_ASKED = 200

BUNDLED = {
    "fashion-honest.onnx": ((1, 28, 28), 10),
    "fashion-gaussian.onnx": ((1, 28, 28), 10),
}
"""Bundled models with honest gradients: image shape and number of classes."""


def bundled_sources(classifier: Classifier) -> tuple[Classifier, ...]:
    """Bundled models for images and classes like those of ``classifier``, itself left out."""
    wanted = (classifier.image_shape, classifier.num_classes)
    found = []
    for name, takes in BUNDLED.items():
        if takes == wanted:
            with resources.as_file(resources.files("robcert.fixtures") / name) as path:
                found.append(load_classifier(path, device=classifier.device))
    return tuple(one for one in found if one.info.sha256 != classifier.info.sha256)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where transferred images come from.

    Attributes:
        names: SHA-256 of the files, or the name of a surrogate; part of the settings of a run.
        models: the models; empty for a surrogate that has not been taught yet.
    """

    names: tuple[str, ...]
    models: tuple[Classifier, ...]

    @classmethod
    def of(cls, models: tuple[Classifier, ...]) -> Sources:
        """The given ``models``."""
        return cls(tuple(model.info.sha256 for model in models), models)

    @classmethod
    def by_default(
        cls, classifier: Classifier, images: ImageSet, settings: MaskingSettings
    ) -> Sources:
        """Bundled models that fit, else the promise of a surrogate, if the settings allow one."""
        fitting = tuple(
            source
            for source in bundled_sources(classifier)
            if agreement(source, classifier, images) >= LEAST_AGREEMENT
        )
        if fitting or not settings.surrogate_queries:
            return cls.of(fitting)
        return cls((NAME,), ())

    def ready(
        self, classifier: Classifier, images: ImageSet, settings: MaskingSettings, *, seed: int
    ) -> tuple[Classifier, ...]:
        """The models, the surrogate taught."""
        if self.models or self.names != (NAME,):
            return self.models
        return (distilled(classifier, images, queries=settings.surrogate_queries, seed=seed),)


def agreement(source: Classifier, classifier: Classifier, images: ImageSet) -> float:
    """Share of images, spread evenly over ``images``, on which both give the same class."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(_ASKED, len(images))).astype(np.int64))
    x = images.pixels(chosen).to(classifier.device)
    same = source.logits(x).argmax(1) == classifier.logits(x).argmax(1)
    return float(same.float().mean())
