"""Models whose adversarial images are tried on the audited one: bundled ones, if any fit."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from .models import load_classifier

if TYPE_CHECKING:
    from .classifier import Classifier

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
