"""Local linearity regularization (Qin et al. 2019, arXiv:1907.02610, equation 8, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.numerics import Direction, StepRule, cross_entropy
from robcert.trainers.networks import NominalStatistics

from .input_ascent import InputAscent, frozen_parameters, in_cube
from .objective import Losses, Objective, Step, warmed_up


@dataclass(frozen=True, slots=True)
class Llr(Objective):
    r"""Cross-entropy plus :math:`\lambda\,\gamma + \mu\,|\delta^\top \nabla\ell(x)|`.

    .. math:: \gamma = \max_\delta g(\delta; x), \qquad
              g(\delta; x) = |\ell(x + \delta) - \ell(x) - \delta^\top \nabla \ell(x)|

    The last iterate of a gradient ascent gives one perturbation per image, which is held constant.
    (The paper's algorithm prints a minus, which would descend.) Batch norm uses the statistics of
    the clean batch in every pass.

    Attributes:
        epsilon: linf radius, pixel units.
        gamma_weight: lambda.
        linear_weight: mu.
        ratio: mu / lambda, as in the paper's tables; None to use ``linear_weight``.
        nominal_weight: factor of the cross-entropy.
        steps: M, Adam steps of the ascent.
        step_size: length of a step, pixel units.
        warmup_epochs: epochs over which epsilon increases from 0.
    """

    epsilon: float = 8 / 255
    gamma_weight: float = 4.0
    linear_weight: float = 3.0
    nominal_weight: float = 2.0
    steps: int = 2
    step_size: float = 0.1
    warmup_epochs: float = 2.0
    ratio: float | None = None

    def __post_init__(self) -> None:
        require_positive("epsilon", self.epsilon)
        require_at_least("steps", self.steps, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Cross-entropy plus the penalty on the deviation from linearity."""
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
    def warmup(self) -> float:
        """Epochs over which epsilon increases from 0."""
        return self.warmup_epochs

    def stretched(self, factor: float) -> Self:
        """The method for a training ``factor`` times as long."""
        return replace(self, warmup_epochs=factor * self.warmup_epochs)

    @property
    def differentiates_twice(self) -> bool:
        """True: the penalty is a function of the input gradient."""
        return True

    @property
    def mu(self) -> float:
        """Weight of the linear term."""
        return self.linear_weight if self.ratio is None else self.ratio * self.gamma_weight

    def perturbation(self, model: nn.Module, tangent: Tangent, y: Tensor, step: Step) -> Tensor:
        """Perturbations ``(b, c, h, w)`` with a large deviation from the tangent; no gradient."""
        epsilon = warmed_up(self.epsilon, self.warmup_epochs, step)
        x = tangent.x

        def deviation(z: Tensor) -> Tensor:
            return tangent.residual(cross_entropy(model(z), y), z - x).abs()

        rule = StepRule(Direction.ADAM, self.step_size)
        ascent = InputAscent(Norm.LINF, epsilon, self.steps, rule)
        return ascent(deviation, x, in_cube(step.uniform(x), epsilon))


@dataclass(frozen=True, slots=True)
class Tangent:
    """First-order model of the loss at each image; its tensors are constants.

    Attributes:
        x: images ``(b, c, h, w)``.
        value: losses of the images ``(b,)``.
        gradient: gradients of the losses ``(b, c, h, w)``.
    """

    x: Tensor
    value: Tensor
    gradient: Tensor

    def residual(self, loss: Tensor, delta: Tensor) -> Tensor:
        """``loss (b,)`` at ``x + delta`` minus the value of the tangent there."""
        return loss - self.value - (delta * self.gradient).flatten(1).sum(1)
