r"""Nearest images that a smoothed classifier puts in another class, sought with gradients.

SmoothAdv (Salman et al. 2019, arXiv:1906.04584): climb
:math:`-\log \frac1m \sum_j \mathrm{softmax}_y f(x + \delta + \eta_j)`. The radius of the search
follows DDN (Rony et al. 2019, arXiv:1811.09600): smaller after a step at which another class leads
the votes, larger otherwise. What comes out is a candidate: votes of a few draws prove nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.gradients import value_and_gradient
from robcert.certify.sampling import NOISE_BLOCK, generator

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier
    from robcert.certify.core import Batch

STREAM = "smoothing/attack"
RADIUS_FACTOR = 0.05
"""Change of the radius a step (gamma of DDN)."""


def nearest_candidates(
    classifier: Classifier,
    batch: Batch,
    *,
    sigma: float,
    steps: int,
    draws: int,
    seed: int,
    start: Tensor,
) -> Tensor:
    """Perturbations ``(b, c, h, w)`` of least l2 norm at which another class led the votes.

    Zero where none was found. The perturbed images stay in [0, 1]; the noise does not.

    Args:
        classifier: model with a twin.
        batch: images, and the classes that the smoothed classifier gives them.
        sigma: standard deviation of the noise, pixel units.
        steps: gradient steps.
        draws: noisy copies a step, at most one noise block.
        seed: of the noise.
        start: first radius of the search ``(b,)``, pixel units.
    """
    delta = torch.zeros_like(batch.x)
    best = torch.zeros_like(batch.x)
    best_norm = torch.full((len(batch),), math.inf, device=batch.x.device)
    radius = start.to(batch.x)
    for step in range(steps):
        noise = _noise(batch, sigma=sigma, draws=draws, seed=seed, step=step)
        gradient, fooled = _ascent(classifier, batch, delta, noise)
        norm = _norm(delta)
        better = fooled & (norm < best_norm)
        best[better], best_norm[better] = delta[better], norm[better]
        radius = radius * torch.where(fooled, 1 - RADIUS_FACTOR, 1 + RADIUS_FACTOR)
        length = radius * (1 + math.cos(math.pi * step / steps)) / 2
        delta = delta + gradient * _per_image(length / _norm(gradient).clamp_min(1e-30))
        delta = delta * _per_image(radius / _norm(delta).clamp_min(1e-30))
        delta = (batch.x + delta).clamp(0, 1) - batch.x
    return best


def _noise(batch: Batch, *, sigma: float, draws: int, seed: int, step: int) -> Tensor:
    """Noise ``(m, b, c, h, w)`` of one step, from a block of each image's own stream."""
    blocks = []
    for index in batch.index.tolist():
        stream = generator(seed, STREAM, index, step, device=batch.x.device)
        block = torch.empty((NOISE_BLOCK, *batch.x.shape[1:]), device=batch.x.device)
        blocks.append(block.normal_(0, sigma, generator=stream)[:draws])
    return torch.stack(blocks, dim=1)


def _ascent(
    classifier: Classifier, batch: Batch, delta: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient ``(b, c, h, w)`` of the loss at x + delta, and whether another class led there."""
    x = batch.x + delta
    rows = torch.arange(len(batch), device=x.device)
    votes = torch.zeros(len(batch), classifier.num_classes, device=x.device)
    log_p: list[Tensor] = []
    gradients: list[Tensor] = []

    def log_probability(z: Tensor) -> Tensor:
        logits = classifier.twin_logits(z)
        votes.index_put_(
            (rows, logits.argmax(1)), torch.ones(len(rows), device=x.device), accumulate=True
        )
        return logits.log_softmax(1)[rows, batch.y]

    for one in noise:
        value, gradient = value_and_gradient(log_probability, x + one)
        log_p.append(value)
        gradients.append(gradient)
    # d(-log mean p) = -sum_j w_j d(log p_j) with w = softmax over the draws of log p_j
    weights = torch.stack(log_p).softmax(0)
    total = -(weights.view(*weights.shape, 1, 1, 1) * torch.stack(gradients)).sum(0)
    own = votes[rows, batch.y]
    votes[rows, batch.y] = -1
    return total, votes.amax(1) > own


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
