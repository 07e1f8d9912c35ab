"""Local linearity regularization (Qin et al. 2019, arXiv:1907.02610, equation 8, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_not_negative, require_positive
from robcert.certify.numerics import Direction, StepRule, cross_entropy
from robcert.trainers.networks import NominalStatistics

from .input_ascent import InputAscent, evaluation_mode, frozen_parameters, in_cube
from .layer_draws import LayerDraws
from .objective import Losses, Objective, Step, warmed_up

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .layer_draws import Logits


@dataclass(frozen=True, slots=True)
class Llr(Objective):
    r"""Cross-entropy plus :math:`\lambda\,\gamma + \mu\,|\delta^\top \nabla\ell(x)|`.

    .. math:: \gamma = \max_\delta g(\delta; x), \qquad
              g(\delta; x) = |\ell(x + \delta) - \ell(x) - \delta^\top \nabla \ell(x)|

    The last iterate of a gradient ascent gives one perturbation per image, which is held constant.
    (The paper's algorithm prints a minus, which would descend.)

    With batch norm the loss of one image depends on the other images of the batch, and ``bn`` says
    which function of one image is meant. ``nominal``, the released code: the perturbed images are
    normalised by the statistics of the clean batch, but the gradient also goes through these
    statistics. It is then not the derivative of the perturbed loss, and the deviation
    contains a part of first order in :math:`\delta`. ``nominal-fixed``: the gradient at fixed
    statistics of the clean batch, so that the deviation is of second order; costs one more forward
    pass. ``eval``: the penalty is that of the network in evaluation mode, with batch norm's moving
    averages, as the analyses see it; the same cost. The cross-entropy has the statistics of the
    clean batch in all three, and only its pass updates the averages. Without batch norm they are
    the same.

    Attributes:
        epsilon: linf radius, pixel units.
        gamma_weight: lambda.
        linear_weight: mu.
        ratio: mu / lambda, as in the paper's tables; None to use ``linear_weight``.
        bn: batch norm in the penalty, see above.
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
    bn: Literal["nominal", "nominal-fixed", "eval"] = "nominal"

    def __post_init__(self) -> None:
        require_not_negative(
            gamma_weight=self.gamma_weight,
            linear_weight=self.linear_weight,
            nominal_weight=self.nominal_weight,
            ratio=self.ratio,
        )
        require_positive("epsilon", self.epsilon)
        require_at_least("steps", self.steps, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Cross-entropy plus the penalty on the deviation from linearity."""
        statistics, draws = NominalStatistics(model), LayerDraws(x.device)
        point = x.detach().requires_grad_()
        with statistics.recorded():
            logits = model(point if self.bn == "nominal" else x)
        nominal = loss = cross_entropy(logits, y)
        if self.bn != "nominal":
            with draws.repeated(), self._penalised(model, statistics, twice=True):
                loss = cross_entropy(model(point), y)
        (gradient,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
        tangent = Tangent(x, loss.detach(), gradient.detach())
        with self._penalised(model, statistics, detached=True), frozen_parameters(model):
            delta = self.perturbation(draws.repeating(model), tangent, y, step)
        with draws.repeated(), self._penalised(model, statistics):
            moved = cross_entropy(model(x + delta), y)
        linear = (delta * gradient).flatten(1).sum(1)
        gamma = (moved - loss - linear).abs()
        total = self.nominal_weight * nominal + self.gamma_weight * gamma + self.mu * linear.abs()
        name = f"gamma_{self.bn.replace('-', '_')}"
        return Losses(total, logits.detach(), measured={name: gamma.detach()})

    def _penalised(
        self,
        model: nn.Module,
        statistics: NominalStatistics,
        *,
        detached: bool = False,
        twice: bool = False,
    ) -> AbstractContextManager[None]:
        """Context in which ``model`` is the function whose deviation is penalised."""
        if self.bn == "eval":
            return evaluation_mode(model)
        return statistics.replayed(detached=detached, twice=twice)

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

    def perturbation(self, model: Logits, tangent: Tangent, y: Tensor, step: Step) -> Tensor:
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
