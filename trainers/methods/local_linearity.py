"""Local linearity regularization (Qin et al. 2019, arXiv:1907.02610, equation 8, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.numerics import Direction, StepRule, cross_entropy
from robcert.trainers.networks import NominalStatistics

from .input_ascent import ascent, frozen_parameters, in_cube
from .objective import Losses, Step, warmed_up


@dataclass(frozen=True, slots=True)
class Llr:
    r"""Cross-entropy plus :math:`\lambda\,\gamma + \mu\,|\delta^\top \nabla\ell(x)|`.

    .. math:: \gamma = \max_\delta g(\delta; x), \qquad
              g(\delta; x) = |\ell(x + \delta) - \ell(x) - \delta^\top \nabla \ell(x)|

    The ascent climbs (the paper's algorithm prints a minus), one perturbation an image, the last
    iterate held constant. Batch norm uses the clean batch's statistics in every pass.

    Attributes:
        epsilon: linf radius, pixel units.
        gamma_weight: lambda.
        linear_weight: mu.
        ratio: mu / lambda, as the paper's tables print it; None for ``linear_weight``.
        nominal_weight: factor of the cross-entropy.
        steps: M, steps of the ascent (Adam).
        step_size: length of a step, pixel units.
        warmup_epochs: epochs over which epsilon grows from 0.
    """

    epsilon: float = 8 / 255
    gamma_weight: float = 4.0
    linear_weight: float = 3.0
    nominal_weight: float = 2.0
    steps: int = 2
    step_size: float = 0.1
    warmup_epochs: float = 2.0
    ratio: float | None = None
    replays: ClassVar[int] = 1
    starts_trained: ClassVar[bool] = False
    differentiates_twice: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive("epsilon", self.epsilon)
        require_at_least("steps", self.steps, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses of the batch and its deviation from linearity."""
        statistics = NominalStatistics(model)
        point = x.detach().requires_grad_()
        with statistics.recorded():
            logits = model(point)
        loss = cross_entropy(logits, y)
        (gradient,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
        tangent = Tangent(x, loss.detach(), gradient.detach())
        with statistics.replayed(detached=True), frozen_parameters(model):
            delta = self.perturbation(model, tangent, y, step)
        with statistics.replayed(detached=False):
            moved = cross_entropy(model(x + delta), y)
        linear = (delta * gradient).flatten(1).sum(1)
        gamma = (moved - loss - linear).abs()
        total = self.nominal_weight * loss + self.gamma_weight * gamma + self.mu * linear.abs()
        return Losses(total, logits.detach(), measured={"gamma": gamma.detach()})

    @property
    def mu(self) -> float:
        """Weight of the linear term."""
        return self.linear_weight if self.ratio is None else self.ratio * self.gamma_weight

    def perturbation(self, model: nn.Module, tangent: Tangent, y: Tensor, step: Step) -> Tensor:
        """Perturbations ``(b, c, h, w)`` far from the tangent; no gradient."""
        epsilon = warmed_up(self.epsilon, self.warmup_epochs, step)
        x = tangent.x

        def deviation(z: Tensor) -> Tensor:
            return tangent.residual(cross_entropy(model(z), y), z - x).abs()

        return ascent(
            deviation,
            x,
            norm=Norm.LINF,
            epsilon=epsilon,
            steps=self.steps,
            rule=StepRule(Direction.ADAM, self.step_size),
            start=in_cube(step.uniform(x), epsilon),
        )


@dataclass(frozen=True, slots=True)
class Tangent:
    """Loss and gradient of images, as constants.

    Attributes:
        x: images ``(b, c, h, w)``.
        value: their losses ``(b,)``.
        gradient: ``(b, c, h, w)``.
    """

    x: Tensor
    value: Tensor
    gradient: Tensor

    def residual(self, loss: Tensor, delta: Tensor) -> Tensor:
        """``loss (b,)`` at ``x + delta`` minus the tangent there."""
        return loss - self.value - (delta * self.gradient).flatten(1).sum(1)
