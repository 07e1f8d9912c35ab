"""Gradient ascent on the input, with constant parameters: the inner loop of robust training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robcert.certify.numerics import per_row, project

if TYPE_CHECKING:
    from robcert.certify.core import Norm
    from robcert.certify.numerics import StepRule

PerExample = Callable[[Tensor], Tensor]
"""Maps images ``(b, ...)`` to one number per image ``(b,)``."""


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into evaluation mode inside the context."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def frozen_parameters(model: nn.Module) -> Iterator[None]:
    """Inside the context no parameter of ``model`` requires a gradient; the input still may."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad = True


def input_gradient(function: PerExample, x: Tensor) -> Tensor:
    """Gradient ``(b, ...)`` of the sum over the batch of ``function`` at ``x (b, ...)``."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(point).sum(), point)
    return gradient


@dataclass(frozen=True, slots=True)
class InputAscent:
    """Projected gradient ascent on the input (Madry et al. 2018, arXiv:1706.06083, equation 2).

    Every step is projected on the ball and on the box [0, 1]. A step costs one forward and one
    backward pass; the searches of the analyses also evaluate the loss after each step, which
    training does not need.

    Attributes:
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        steps: gradient steps.
        rule: rule that turns a gradient into a step.
    """

    norm: Norm
    epsilon: float
    steps: int
    rule: StepRule

    def __call__(
        self, function: PerExample, x: Tensor, initial_perturbation: Tensor | None = None
    ) -> Tensor:
        """Perturbation ``(b, ...)`` after the last step; no gradient.

        Args:
            function: maps images, not perturbations, to one number per image, to be maximised.
            x: images in [0, 1].
            initial_perturbation: projected before use; None for 0.
        """
        radius = torch.full((len(x),), self.epsilon, dtype=x.dtype, device=x.device)
        delta = torch.zeros_like(x)
        if initial_perturbation is not None:
            delta = project(initial_perturbation, self.norm, radius, x=x)
        moments = self.rule.moments(delta)
        for step in range(1, self.steps + 1):
            count = torch.full_like(radius, step)
            gradient = input_gradient(function, x + delta)
            unit, moments = self.rule.unit(gradient, count, moments)
            size = per_row(self.rule.sizes(count, radius), delta)
            delta = project(delta + unit * size, self.norm, radius, x=x)
        return delta


def in_cube(unit: Tensor, epsilon: float) -> Tensor:
    """Numbers of [0, 1) mapped linearly to [-epsilon, epsilon)."""
    return (2 * unit - 1) * epsilon
