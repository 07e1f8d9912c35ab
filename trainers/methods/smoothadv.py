"""Adversarial training of the smoothed classifier (Salman et al. 2019, arXiv:1906.04584)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.numerics import Direction, StepRule, cross_entropy

from .input_ascent import InputAscent, evaluation_mode, frozen_parameters
from .objective import Losses, Objective, Step, warmed_up


@dataclass(frozen=True, slots=True)
class SmoothAdv(Objective):
    r"""Mean cross-entropy at :math:`x + \delta + \sigma n_j`, with the noise of the ascent.

    :math:`\delta` maximises :math:`-\log \frac1m \sum_j p_y(x + \delta + \sigma n_j)`, the loss of
    the smoothed classifier itself, in an l2 ball.

    Attributes:
        sigma: standard deviation of the noise, pixel units.
        epsilon: l2 radius, pixel units.
        steps: gradient steps, each of length 2 epsilon / steps.
        samples: m, noise draws per image.
        warmup_epochs: epochs over which epsilon increases from 0.
    """

    sigma: float = 0.25
    epsilon: float = 64 / 255
    steps: int = 2
    samples: int = 2
    warmup_epochs: float = 1.0

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)
        require_positive("epsilon", self.epsilon)
        require_at_least("steps", self.steps, 1)
        require_at_least("samples", self.samples, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Mean loss of each image over its noise draws."""
        noise = self.sigma * step.normal(x, (self.samples, *x.shape), axis=1)
        delta = self.perturbation(model, x, y, noise, step)
        logits = model((x + delta + noise).flatten(0, 1))
        loss = cross_entropy(logits, y.repeat(self.samples)).view(self.samples, -1).mean(0)
        votes = logits.detach().softmax(1).view(self.samples, len(x), -1).mean(0)
        return Losses(loss, votes)

    def perturbation(
        self, model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, step: Step
    ) -> Tensor:
        """Perturbations ``(b, c, h, w)`` for the given ``noise (m, b, c, h, w)``; no gradient."""
        epsilon = warmed_up(self.epsilon, self.warmup_epochs, step)
        rule = StepRule(Direction.L2, 2 / self.steps, relative=True)
        ascent = InputAscent(self.norm, epsilon, self.steps, rule)
        with evaluation_mode(model), frozen_parameters(model):
            return ascent(lambda z: smoothed_loss(model, z, y, noise), x)

    @property
    def warmup(self) -> float:
        """Epochs over which epsilon increases from 0."""
        return self.warmup_epochs

    def stretched(self, factor: float) -> Self:
        """The method for a training ``factor`` times as long."""
        return replace(self, warmup_epochs=factor * self.warmup_epochs)

    @property
    def norm(self) -> Norm:
        """The l2 norm."""
        return Norm.L2


def smoothed_loss(model: nn.Module, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    r""":math:`-\log \frac1m \sum_j p_y(x + n_j)` ``(b,)`` for noise ``(m, b, c, h, w)``."""
    logits = model((x + noise).flatten(0, 1))
    losses = cross_entropy(logits, y.repeat(len(noise))).view(len(noise), -1)
    count = torch.tensor(float(len(noise)), dtype=losses.dtype, device=losses.device)
    return count.log() - (-losses).logsumexp(0)
