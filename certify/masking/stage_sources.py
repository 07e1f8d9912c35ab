"""Source models made of stages inside the audited graph.

A network whose last layers hide its decision, by votes of the nearest stored images for instance,
still computes features. The class of most images with similar features is a decision with a slope,
and its adversarial images transfer to the network itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.model import Classifier, Runtime, Twin
from robcert.certify.numerics import NO_CLASS, classes_of

if TYPE_CHECKING:
    from robcert.certify.data import ImageSet
    from robcert.certify.model import Logits

LEAST_AGREEMENT = 0.5
"""Share of images on which a stage must give the class of the model."""

MOST_SOURCES = 2
"""Number of stages used: those that agree most often."""

IMAGES, _BATCH = 1000, 64


def stage_sources(classifier: Classifier, images: ImageSet) -> tuple[Classifier, ...]:
    """Models that give the class of similar images at a stage of ``classifier``'s graph.

    The images are of the whole data set, with the class that the model gives them.
    """
    twin = classifier.twin
    stages = () if twin is None or twin.stages is None else twin.stages()
    if twin is None or not stages:
        return ()
    chosen = np.unique(np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(np.int64))
    x = images.pixels(chosen).to(classifier.device)
    with classifier.forward_only():
        said = torch.cat([classes_of(classifier.logits(part)) for part in torch.split(x, _BATCH)])
    x, said = x[said != NO_CLASS], said[said != NO_CLASS]
    if not len(x):
        return ()
    found = []
    for stage in stages:
        features = replace(twin, logits=stage, exact=None, declared=None)
        logits = _by_neighbours(features, x, said, classifier.num_classes)
        if logits is None:
            continue
        with torch.no_grad():
            named = torch.cat([logits(part).argmax(1) for part in torch.split(x, _BATCH)])
        found.append((float((named == said).double().mean()), _with(classifier, twin, logits)))
    found = [one for one in found if one[0] >= LEAST_AGREEMENT]
    found.sort(key=lambda one: -one[0])
    return tuple(source for _, source in found[:MOST_SOURCES])


def _by_neighbours(features: Twin, x: Tensor, said: Tensor, classes: int) -> Logits | None:
    """For each class the logarithm of its share of a Gaussian kernel density at the stage.

    The kernel's variance per entry is half the mean squared distance of an image to its nearest
    neighbour. None where a feature is not a number, or no two images differ.
    """
    with torch.no_grad():
        seen = torch.cat([features(part) for part in torch.split(x, _BATCH)])
        centre = seen.mean(0)
        seen = seen - centre
        apart = _squares(seen, seen).fill_diagonal_(torch.inf).amin(1)
    width = float(apart[apart.isfinite()].mean())
    if not bool(seen.isfinite().all()) or not width > 0:
        return None
    member = torch.nn.functional.one_hot(said, classes).bool().T

    def logits(x: Tensor) -> Tensor:
        near = -_squares(features(x) - centre, seen) / width
        of_class = torch.where(member, near[:, None], torch.finfo(near.dtype).min)
        return of_class.logsumexp(2)

    return logits


def _squares(some: Tensor, others: Tensor) -> Tensor:
    """Squared distances ``(b, n)``."""
    inner = some @ others.T
    return (some.square().sum(1, keepdim=True) - 2 * inner + others.square().sum(1)).clamp_min(0)


def _with(classifier: Classifier, twin: Twin, logits: Logits) -> Classifier:
    """A source with these ``logits``."""
    with_stage = Twin(logits, fixed_batch=twin.fixed_batch)
    return replace(classifier, runtime=Runtime(logits), twin=with_stage, doubted_twin=None)
