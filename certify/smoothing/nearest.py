r"""Nearest images that a smoothed classifier puts in another class, sought with gradients.

SmoothAdv (Salman et al. 2019, arXiv:1906.04584): gradient ascent on
:math:`-\log \frac1m \sum_j \mathrm{softmax}_y f(x + \delta + \eta_j)`. The radius of the search
follows DDN (Rony et al. 2019, arXiv:1811.09600): smaller after a step at which another class leads
the votes, larger otherwise. What comes out is a candidate: votes of a few draws prove nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from robcert.certify.numerics import (
    NO_CLASS,
    NOISE_BLOCK,
    classes_of,
    finite,
    generator,
    value_and_gradient,
)

if TYPE_CHECKING:
    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier

STREAM = "smoothing/attack"
FIRST_FACTOR = 0.15
LAST_FACTOR = 0.02
"""Change of the radius at the first and at the last step (gamma of DDN, which keeps it at 0.05)."""

ROWS = 256
"""Noisy images in one backward pass; more brings no speed."""


@dataclass(frozen=True, slots=True)
class GradientNoise:
    """Noise under which the gradient of a step is averaged.

    Attributes:
        sigma: standard deviation, pixel units.
        draws: noisy copies per image and step, at most one noise block.
        seed: seed of the run.
    """

    sigma: float
    draws: int
    seed: int

    def of_step(self, batch: Batch, step: int) -> Tensor:
        """Noise ``(m, b, c, h, w)`` of one step, from a block of each image's own stream."""
        blocks = []
        for index in batch.index.tolist():
            stream = generator(self.seed, STREAM, index, step, device=batch.x.device)
            block = torch.empty((NOISE_BLOCK, *batch.x.shape[1:]), device=batch.x.device)
            blocks.append(block.normal_(0, self.sigma, generator=stream)[: self.draws].clone())
        return torch.stack(blocks, dim=1)


def nearest_candidates(
    classifier: Classifier, batch: Batch, noise: GradientNoise, *, steps: int, start: Tensor
) -> Tensor:
    """Perturbations ``(b, c, h, w)`` of least l2 norm at which another class led the votes.

    Zero where none was found. The perturbed images stay in [0, 1]; the noise does not.

    Args:
        classifier: model with a twin.
        batch: images, and the classes that the smoothed classifier gives them.
        noise: the noise of every step.
        steps: gradient steps.
        start: first radius of the search ``(b,)``, pixel units.
    """
    delta = torch.zeros_like(batch.x)
    best = torch.zeros_like(batch.x)
    best_norm = torch.full((len(batch),), math.inf, device=batch.x.device)
    radius = start.to(batch.x)
    for step in range(steps):
        gradient, fooled = _ascent(classifier, batch, delta, noise.of_step(batch, step))
        norm = _norm(delta)
        better = fooled & (norm < best_norm)
        best[better], best_norm[better] = delta[better], norm[better]
        slope = (1 + math.cos(math.pi * step / steps)) / 2  # from 1 to 0
        factor = LAST_FACTOR + (FIRST_FACTOR - LAST_FACTOR) * slope
        radius = radius * torch.where(fooled, 1 - factor, 1 + factor)
        length = radius * slope
        delta = delta + gradient * _per_image(length / _norm(gradient).clamp_min(1e-30))
        delta = delta * _per_image(radius / _norm(delta).clamp_min(1e-30))
        delta = (batch.x + delta).clamp(0, 1) - batch.x
    return best


def _ascent(
    classifier: Classifier, batch: Batch, delta: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient ``(b, c, h, w)`` of the loss at x + delta, and whether another class led there."""
    x = (batch.x + delta + noise).flatten(0, 1)
    y = batch.y.repeat(len(noise))
    votes: list[Tensor] = []

    def log_probability(rows: slice, z: Tensor) -> Tensor:
        logits = classifier.twin_logits(z)
        votes.append(classes_of(logits.detach()))
        return logits.log_softmax(1).gather(1, y[rows, None]).squeeze(1)

    parts = [slice(first, first + ROWS) for first in range(0, len(x), ROWS)]
    found = [value_and_gradient(partial(log_probability, part), x[part]) for part in parts]
    # d(-log mean p) = -sum_j w_j d(log p_j) with w = softmax over the draws of log p_j
    # A draw without a class has NaN here, and no weight.
    values = torch.cat([value for value, _ in found]).nan_to_num(nan=-torch.inf)
    weights = values.view(len(noise), len(batch)).softmax(0).nan_to_num(0.0)
    gradients = finite(torch.cat([gradient for _, gradient in found])).view_as(noise)
    ascent = -(weights.view(*weights.shape, 1, 1, 1) * gradients).sum(0)
    classes = torch.cat(votes).view(len(noise), len(batch))
    named = (classes != NO_CLASS).unsqueeze(-1)
    counts = (one_hot(classes.clamp_min(0), classifier.num_classes) * named).sum(0)
    own = counts.gather(1, batch.y[:, None])
    others = counts.scatter(1, batch.y[:, None], -1)
    return ascent, others.amax(1) > own.squeeze(1)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
