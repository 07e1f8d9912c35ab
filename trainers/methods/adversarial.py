"""Adversarial training (Madry et al. 2018, arXiv:1706.06083)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.numerics import Direction, Loss, StepRule, cross_entropy

from .input_ascent import InputAscent, evaluation_mode, frozen_parameters, in_cube
from .objective import Losses, Objective, Step, warmed_up

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Adversarial(Objective):
    r"""Cross-entropy at :math:`x + \delta`, with :math:`\delta` from gradient ascent in a ball.

    Batch norm uses its moving averages in the ascent and the batch statistics in the loss. LLR's
    variant (Qin et al. 2019, released code) maximises the logit margin by 20 Adam steps of 0.1.

    Attributes:
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        steps: gradient steps of the ascent.
        step_size: length of a step, pixel units.
        rule: ``steepest`` ascent in the norm (sign steps in linf), or ``adam``.
        loss: loss that the ascent maximises.
        random_start: start at a uniformly random point of the cube, else at the image.
        warmup_epochs: epochs over which epsilon increases from 0.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    steps: int = 7
    step_size: float = 2 / 255
    rule: Literal["steepest", "adam"] = "steepest"
    loss: Loss = Loss.CE
    random_start: bool = True
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        require_positive("epsilon", self.epsilon)
        require_positive("step_size", self.step_size)
        require_at_least("steps", self.steps, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses of the perturbed images."""
        logits = model(x + self.perturbation(model, x, y, step))
        return Losses(cross_entropy(logits, y), logits.detach())

    @property
    def warmup(self) -> float:
        """Epochs over which epsilon increases from 0."""
        return self.warmup_epochs

    def stretched(self, factor: float) -> Self:
        """The method for a training ``factor`` times as long."""
        return replace(self, warmup_epochs=factor * self.warmup_epochs)

    def perturbation(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        """Perturbations ``(b, c, h, w)`` of the images; no gradient."""
        epsilon = warmed_up(self.epsilon, self.warmup_epochs, step)
        norm, loss = Norm(self.norm), Loss(self.loss)
        direction = Direction.ADAM if self.rule == "adam" else Direction.steepest(norm)
        ascent = InputAscent(norm, epsilon, self.steps, StepRule(direction, self.step_size))
        initial = in_cube(step.uniform(x), epsilon) if self.random_start else None
        with evaluation_mode(model), frozen_parameters(model):
            return ascent(lambda z: loss.of(model(z), y), x, initial)
