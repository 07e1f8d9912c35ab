"""Adversarial training: cross-entropy at the end of an ascent (Madry et al. 2018, 1706.06083)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.numerics import Direction, Loss, StepRule, cross_entropy

from .input_ascent import ascent, evaluation_mode, frozen_parameters, in_cube
from .objective import Losses, Step, warmed_up

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Adversarial:
    r"""Cross-entropy at :math:`x + \delta`, :math:`\delta` from ascent in a ball.

    The ascent sees batch norm's moving averages, the loss its batch statistics. LLR's variant
    (Qin et al. 2019, released code) climbs the logit margin with 20 of Adam's steps of 0.1.

    Attributes:
        norm: norm of the ball.
        epsilon: its radius, pixel units.
        steps: gradient steps; 1, 7 and so on.
        step_size: length of a step, pixel units.
        rule: ``steepest`` in the norm (sign steps in linf), or ``adam``.
        loss: what the ascent climbs.
        random_start: begin at a random point of the cube, else at the image.
        warmup_epochs: epochs over which epsilon grows from 0.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    steps: int = 7
    step_size: float = 2 / 255
    rule: Literal["steepest", "adam"] = "steepest"
    loss: Loss = Loss.CE
    random_start: bool = True
    warmup_epochs: float = 0.0
    replays: ClassVar[int] = 1
    starts_trained: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive("epsilon", self.epsilon)
        require_positive("step_size", self.step_size)
        require_at_least("steps", self.steps, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses at the perturbed images."""
        logits = model(x + self.perturbation(model, x, y, step))
        return Losses(cross_entropy(logits, y), logits.detach())

    def perturbation(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        """Perturbations ``(b, c, h, w)`` that the loss is taken at; no gradient."""
        epsilon = warmed_up(self.epsilon, self.warmup_epochs, step)
        norm, loss = Norm(self.norm), Loss(self.loss)
        direction = Direction.ADAM if self.rule == "adam" else Direction.steepest(norm)
        start = in_cube(step.uniform(x), epsilon) if self.random_start else None
        with evaluation_mode(model), frozen_parameters(model):
            return ascent(
                lambda z: loss.of(model(z), y),
                x,
                norm=norm,
                epsilon=epsilon,
                steps=self.steps,
                rule=StepRule(direction, self.step_size),
                start=start,
            )
