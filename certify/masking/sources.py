"""Source models of transfer attacks on the audited one: bundled ones that fit, or a surrogate.

A bundled model fits if it takes the same images, has the same classes and agrees with the audited
one on the given images; if none does, a surrogate is distilled.

The surrogate is a small network trained on the runtime's outputs for the given images, for mixtures
of them and for noisy copies (Papernot et al. 2017, arXiv:1602.02697). It costs a bounded number of
model queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.model import Classifier, ModelInfo
from robcert.certify.numerics import NO_CLASS, classes_of, generator, stream_seed

if TYPE_CHECKING:
    from robcert.certify.data import ImageSet

    from .settings import MaskingSettings


LEAST_AGREEMENT = 0.5
"""Share of images on which a source must give the same class as the audited model."""

_ASKED = 200

BUNDLED = {
    "fashion-honest.onnx": ((1, 28, 28), 10),
    "fashion-gaussian.onnx": ((1, 28, 28), 10),
}
"""Bundled models without gradient masking: image shape and number of classes."""


def bundled_sources(classifier: Classifier) -> tuple[Classifier, ...]:
    """Bundled models for images and classes like those of ``classifier``, except itself."""
    wanted = (classifier.image_shape, classifier.num_classes)
    found = []
    for name, takes in BUNDLED.items():
        if takes == wanted:
            with resources.as_file(resources.files("robcert.fixtures") / name) as path:
                found.append(load_classifier(path, LoadOptions(device=classifier.device)))
    return tuple(one for one in found if one.info.sha256 != classifier.info.sha256)


@dataclass(frozen=True, slots=True)
class Sources:
    """Source models of transfer attacks.

    Attributes:
        names: SHA-256 of the files, or the name of a surrogate; part of the settings of a run.
        models: the models; empty for a surrogate that has not been trained yet.
    """

    names: tuple[str, ...]
    models: tuple[Classifier, ...]

    @classmethod
    def of(cls, models: tuple[Classifier, ...]) -> Sources:
        """Sources that are the given ``models``."""
        return cls(tuple(model.info.sha256 for model in models), models)

    @classmethod
    def by_default(
        cls, classifier: Classifier, images: ImageSet, settings: MaskingSettings
    ) -> Sources:
        """Bundled models that fit, else a surrogate still to be trained, if settings allow one."""
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
        """The sources with their models, after training the surrogate if there is one."""
        if self.models or self.names != (NAME,):
            return self.models
        return (distilled(classifier, images, queries=settings.surrogate_queries, seed=seed),)


def agreement(source: Classifier, classifier: Classifier, images: ImageSet) -> float:
    """Share of images, spread evenly over ``images``, on which both give the same class."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(_ASKED, len(images))).astype(np.int64))
    x = images.pixels(chosen).to(classifier.device)
    said = classes_of(classifier.logits(x))
    same = (classes_of(source.logits(x)) == said) & (said != NO_CLASS)
    return float(same.float().mean())


NAME = "distilled"
"""Name of a surrogate, in place of the hash of a file."""

MOST_IMAGES = 500
LARGEST_SIDE = 32
_EPOCHS = 8
_BATCH = 64
_STREAM = "masking/surrogate"


def distilled(classifier: Classifier, images: ImageSet, *, queries: int, seed: int) -> Classifier:
    """A convolutional network that imitates the runtime on and around ``images``.

    The result does not depend on the images reported on: it uses images of the whole data set.

    Args:
        classifier: the model that is imitated; only its runtime is queried.
        images: images from which the queries are made.
        queries: number of model queries.
        seed: seed of the queries and of the training.
    """
    x, logits = _training_set(classifier, images, queries, seed)
    targets = _scaled(logits).softmax(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, _STREAM, 1))
        student = _network(classifier.image_shape, classifier.num_classes).to(x.device)
        _train(student, x, targets, generator(seed, _STREAM, 2))
    return Classifier.from_module(
        student,
        image_shape=classifier.image_shape,
        num_classes=classifier.num_classes,
        info=ModelInfo(file=f"{NAME} surrogate", sha256=NAME, kind="module"),
    )


def _training_set(
    classifier: Classifier, images: ImageSet, queries: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Inputs ``(n, c, h, w)`` and outputs ``(n, k)`` of the queries; NaN outputs are dropped."""
    draw = generator(seed, _STREAM, 0)
    chosen = torch.randperm(len(images), generator=draw)[:MOST_IMAGES]
    pixels = images.pixels(chosen.sort().values.numpy())
    inputs, outputs = [], []
    with classifier.forward_only():
        for begin in range(0, queries, _BATCH):
            x = _query_images(pixels, min(_BATCH, queries - begin), draw)
            inputs.append(x)
            outputs.append(classifier.logits(x.to(classifier.device)))
    x, logits = torch.cat(inputs).to(classifier.device), torch.cat(outputs).float()
    good = logits.isfinite().all(1)
    return x[good], logits[good]


def _query_images(pixels: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Images, half of them mixed with another one, each with noise of its own size."""
    first = pixels[torch.randint(len(pixels), (count,), generator=draw)]
    second = pixels[torch.randint(len(pixels), (count,), generator=draw)]
    share = (torch.rand(count, generator=draw) - 0.5).clamp_min(0).view(-1, 1, 1, 1)
    size = 0.2 * torch.rand(count, generator=draw).square().view(-1, 1, 1, 1)
    noise = torch.randn(first.shape, generator=draw)
    return (first + share * (second - first) + size * noise).clamp(0, 1)


def _scaled(logits: Tensor) -> Tensor:
    """Logits rescaled to a mean standard deviation over classes of 3, at any temperature."""
    centred = logits - logits.mean(1, keepdim=True)
    return 3 * centred / centred.square().mean().sqrt().clamp_min(1e-12)


def _network(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    channels, height, width = shape
    sides = (min(height, LARGEST_SIDE), min(width, LARGEST_SIDE))
    fewer = [nn.AdaptiveAvgPool2d(sides)] if sides != (height, width) else []
    return nn.Sequential(
        *fewer,
        nn.Conv2d(channels, 24, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def _train(student: nn.Module, x: Tensor, targets: Tensor, draw: torch.Generator) -> None:
    """Adam on cross-entropy with the soft ``targets``, one falling step size over all epochs."""
    if not len(x):
        student(x.new_zeros(1, *x.shape[1:]))  # determines the shape of the lazy layer
        return
    student(x[:1])
    optimiser = torch.optim.Adam(student.parameters(), lr=2e-3)
    total = _EPOCHS * -(-len(x) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
    for _ in range(_EPOCHS):
        for some in torch.split(torch.randperm(len(x), generator=draw), _BATCH):
            with torch.enable_grad():
                said = student(x[some].contiguous()).log_softmax(1)
                loss = functional.kl_div(said, targets[some], reduction="batchmean")
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
