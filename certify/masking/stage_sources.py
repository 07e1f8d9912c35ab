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

LEAST_AGREEMENT = 1 / 3
"""How often, at a stage, the other images must give an image the class of the model: 0 as often as
the commonest class would be right, 1 always."""

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
        made = _by_neighbours(features, x, said, classifier.num_classes)
        if made is not None and made[1] >= LEAST_AGREEMENT:
            found.append((made[1], _with(classifier, twin, made[0])))
    found.sort(key=lambda one: -one[0])
    return tuple(source for _, source in found[:MOST_SOURCES])


def _by_neighbours(
    features: Twin, x: Tensor, said: Tensor, classes: int
) -> tuple[Logits, float] | None:
    """For each class the logarithm of its share of a Gaussian kernel density at the stage.

    The kernel's variance per entry is half the mean squared distance of an image to its nearest
    neighbour. The second value tells how often the others of ``x (n, c, h, w)`` give an image its
    class in ``said (n,)``, see ``LEAST_AGREEMENT``. None where a feature is not a number, or no two
    images differ.
    """
    with torch.no_grad():
        seen = torch.cat([features(part) for part in torch.split(x, _BATCH)])
        centre = seen.mean(0)
        seen = seen - centre
        apart = _squares(seen, seen).fill_diagonal_(torch.inf)
    nearest = apart.amin(1)
    width = float(nearest[nearest.isfinite()].mean())
    if not bool(seen.isfinite().all()) or not width > 0:
        return None
    member = torch.nn.functional.one_hot(said, classes).bool().T

    def densities(apart: Tensor) -> Tensor:
        near = (-apart / width)[:, None]
        return torch.where(member, near, torch.finfo(near.dtype).min).logsumexp(2)

    def logits(x: Tensor) -> Tensor:
        return densities(_squares(features(x) - centre, seen))

    named = torch.cat([densities(rows).argmax(1) for rows in torch.split(apart, _BATCH)])
    right, commonest = float((named == said).double().mean()), float(member.double().mean(1).amax())
    return logits, (right - commonest) / max(1 - commonest, 1 / len(x))


def _squares(some: Tensor, others: Tensor) -> Tensor:
    """Squared distances ``(b, n)``."""
    inner = some @ others.T
    return (some.square().sum(1, keepdim=True) - 2 * inner + others.square().sum(1)).clamp_min(0)


def _with(classifier: Classifier, twin: Twin, logits: Logits) -> Classifier:
    """A source with these ``logits``."""
    with_stage = Twin(logits, fixed_batch=twin.fixed_batch)
    return replace(classifier, runtime=Runtime(logits), twin=with_stage, doubted_twin=None)
