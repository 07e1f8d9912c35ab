"""Curvature regularization (Moosavi-Dezfooli et al. 2019, arXiv:1811.09716, equation 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_not_negative, require_positive
from robcert.certify.numerics import cross_entropy, normalised
from robcert.trainers.networks import frozen_averages

from .layer_draws import LayerDraws
from .objective import Losses, Objective, Step, warmed_up


@dataclass(frozen=True, slots=True)
class Cure(Objective):
    r"""Cross-entropy plus :math:`\lambda \|\nabla\ell(x + hz) - \nabla\ell(x)\|_2^2`.

    :math:`z = \mathrm{sign}(\nabla\ell(x))` scaled to l2 norm 1, is held constant. Each
    image has the gradient of its own loss; the released code takes the gradient of the batch mean
    and does not square.

    Attributes:
        weight: lambda.
        step: h, an l2 length in pixel units.
        step_epochs: epochs over which h increases from 0, as in the released code.
        power: ``squared`` norm as in the paper, or the ``norm`` itself as in the released code.
    """

    weight: float = 4.0
    step: float = 3.0
    step_epochs: float = 5.0
    power: Literal["squared", "norm"] = "squared"

    def __post_init__(self) -> None:
        require_not_negative(weight=self.weight)
        require_positive("step", self.step)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Cross-entropy plus the penalty."""
        draws = LayerDraws(x.device)
        point = x.detach().requires_grad_()
        logits = model(point)
        loss = cross_entropy(logits, y)
        (gradient,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
        length = warmed_up(self.step, self.step_epochs, step)
        moved = (x + length * normalised(gradient.detach().sign())).requires_grad_()
        with draws.repeated(), frozen_averages(model):
            beyond = cross_entropy(model(moved), y)
        (other,) = torch.autograd.grad(beyond.sum(), moved, create_graph=True)
        change = other - gradient
        squared = change.flatten(1).square().sum(1)
        # the norm has no gradient at 0, where h is 0
        penalty = squared if self.power == "squared" else (squared + 1e-20).sqrt()
        total = loss + self.weight * penalty
        curvature = Norm.L2.of(change.detach())
        return Losses(total, logits.detach(), measured={"gradient_change": curvature})

    @property
    def warmup(self) -> float:
        """Epochs over which h increases from 0."""
        return self.step_epochs

    def stretched(self, factor: float) -> Self:
        """The method for a training ``factor`` times as long."""
        return replace(self, step_epochs=factor * self.step_epochs)

    @property
    def differentiates_twice(self) -> bool:
        """True: the penalty is a function of the input gradient."""
        return True
