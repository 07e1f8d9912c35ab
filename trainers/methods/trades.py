"""TRADES (Zhang et al. 2019, arXiv:1901.08573, equation 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_not_negative, require_positive
from robcert.certify.numerics import Direction, StepRule, cross_entropy

from .input_ascent import InputAscent, evaluation_mode, frozen_parameters
from .objective import Losses, Objective, Step


@dataclass(frozen=True, slots=True)
class Trades(Objective):
    r"""Cross-entropy plus :math:`\beta\,\mathrm{KL}(p(x) \,\|\, p(x'))`.

    :math:`x'` maximises the same divergence from :math:`x + 0.001\,n`, with batch norm's moving
    averages, as in the released code.

    Attributes:
        weight: beta.
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        steps: gradient steps.
        step_size: length of a step, pixel units.
    """

    weight: float = 6.0
    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    steps: int = 10
    step_size: float = 0.007

    def __post_init__(self) -> None:
        require_not_negative(weight=self.weight)
        require_positive("epsilon", self.epsilon)
        require_positive("step_size", self.step_size)
        require_at_least("steps", self.steps, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses from one pass over clean and perturbed images, with common batch statistics."""
        delta = self.perturbation(model, x, step)
        clean, perturbed = model(torch.cat([x, x + delta])).chunk(2)
        divergence = kl_divergence(clean, perturbed)
        loss = cross_entropy(clean, y) + self.weight * divergence
        return Losses(loss, clean.detach(), measured={"divergence": divergence.detach()})

    def perturbation(self, model: nn.Module, x: Tensor, step: Step) -> Tensor:
        """Perturbations ``(b, c, h, w)`` that maximise the divergence; no gradient."""
        norm = Norm(self.norm)
        rule = StepRule(Direction.steepest(norm), self.step_size)
        ascent = InputAscent(norm, self.epsilon, self.steps, rule)
        initial = 0.001 * step.normal(x)
        with evaluation_mode(model), frozen_parameters(model):
            with torch.no_grad():
                clean = model(x)
            return ascent(lambda z: kl_divergence(clean, model(z)), x, initial)


def kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    r""":math:`\sum_i p_i (\log p_i - \log q_i)` ``(b,)``, p and q softmax of ``(b, k)`` logits."""
    log_p, log_q = logits.log_softmax(1), other.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)
