"""Trace of one plain attack: losses at every step, whether it moves, spatial frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.attacks import default_rule
from robcert.certify.local_linearity import Search, Sided, halving_rule, largest_deviation, tangent
from robcert.certify.numerics import (
    Loss,
    RandomStart,
    feasible,
    finite,
    per_row,
    project,
    sums,
    value_and_gradient,
)

if TYPE_CHECKING:
    from robcert.certify.core import Ball, Batch, Norm
    from robcert.certify.model import Classifier

HIGH = 0.25
"""Spatial frequencies above this, in cycles per pixel, count as high: half of the largest."""

LINEARITY_STEPS = 10


@dataclass(frozen=True, slots=True)
class Trace:
    """PGD from a random start, without early stopping.

    Attributes:
        losses: cross-entropy before every step and after the last ``(b, steps + 1)``, in nats.
        margins: largest other logit minus that of y, at the same points; above 0: misclassified.
        moved: whether the last point differs from the first ``(b,)``.
        not_a_number: whether a gradient at some step contained NaN or infinity ``(b,)``.
        delta: the last perturbation ``(b, c, h, w)``.
        best_delta: the perturbation of the largest margin loss on the way.
    """

    losses: Tensor
    margins: Tensor
    moved: Tensor
    not_a_number: Tensor
    delta: Tensor
    best_delta: Tensor


def trace(
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    *,
    steps: int,
    seed: int,
    loss: Loss = Loss.MARGIN,
) -> Trace:
    """Trace of the attack on the images of ``batch``.

    On the margin, the path does not depend on a positive factor of the logits.
    """
    x, y, norm = batch.x, batch.y, ball.norm
    rule, radius = default_rule(norm, steps), per_row(ball.epsilon, x).flatten()
    start = RandomStart(seed, "masking/trace").draw(batch.index, x, ball)
    first = delta = project(start, norm, radius, x=x)
    moments = rule.moments(delta)
    bad = torch.zeros_like(y, dtype=torch.bool)
    losses, margins, best = [], [], first
    for step in range(1, steps + 2):
        seen: list[Tensor] = []
        score = partial(_score, classifier, loss, y, seen)
        _, gradient = value_and_gradient(score, x + delta)
        losses.append(Loss.CE.of(seen[0], y))
        margins.append(Loss.MARGIN.of(seen[0], y))
        if step > 1:
            seen_so_far = torch.stack(margins).nan_to_num(torch.inf)  # NaN names no class
            rising = seen_so_far[-1] > seen_so_far[:-1].amax(0)
            best = torch.where(rising.view(-1, 1, 1, 1), delta, best)
        bad |= ~gradient.flatten(1).isfinite().all(1)
        if step <= steps:
            t = torch.full_like(radius, step)
            unit, moments = rule.unit(feasible(finite(gradient), x + delta), t, moments)
            moved = delta + unit * per_row(rule.sizes(t, radius), delta)
            delta = project(moved, norm, radius, x=x)
    far = (delta - first).flatten(1).abs().amax(1) > 0
    return Trace(torch.stack(losses, 1), torch.stack(margins, 1), far, bad, delta, best)


def _score(classifier: Classifier, loss: Loss, y: Tensor, seen: list[Tensor], x: Tensor) -> Tensor:
    logits = classifier.twin_logits(x)
    seen.append(logits.detach())
    return loss.of(logits, y)


def high_frequency_share(delta: Tensor) -> Tensor:
    """Share of the energy of ``delta (b, c, h, w)`` above ``HIGH``, without the mean, ``(b,)``.

    For white noise it is 1 - pi/16 = 0.80. NaN where the perturbation is constant.
    """
    energy = torch.fft.fft2(delta.double()).abs().square()
    down = torch.fft.fftfreq(delta.shape[2], dtype=torch.float64, device=delta.device)
    right = torch.fft.fftfreq(delta.shape[3], dtype=torch.float64, device=delta.device)
    frequency = torch.hypot(down.view(-1, 1), right.view(1, -1))
    whole = sums(energy * (frequency > 0))
    high = sums(energy * (frequency > HIGH))
    return torch.where(whole > 1e-20, high / whole, torch.nan)


def bend(
    classifier: Classifier, batch: Batch, *, norm: Norm, epsilon: float, seed: int
) -> tuple[Tensor, Tensor]:
    r"""γ(ε, x) of the logit margin by a short search, and :math:`\epsilon \|\nabla\|_*`, ``(b,)``.

    The first is the largest deviation of the margin from its tangent, the second the largest change
    of the tangent in the ball (Qin et al. 2019, arXiv:1907.02610, equation 5).
    """
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    rule = halving_rule(norm, LINEARITY_STEPS)
    found = largest_deviation(
        tangents,
        batch,
        Search(norm, Sided.TWO, LINEARITY_STEPS, rule),
        epsilon=epsilon,
        seed=seed,
        stream="masking/linearity",
    )
    return found.value, epsilon * norm.dual.of(tangents.gradient.double())
