"""The inner loops of robust training: ascent on the input, with the parameters held still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robcert.certify.numerics import per_row, project

if TYPE_CHECKING:
    from robcert.certify.core import Norm
    from robcert.certify.numerics import StepRule

PerExample = Callable[[Tensor], Tensor]
"""Images ``(b, ...)`` to one number an image ``(b,)``."""


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``model`` in evaluation mode, then as before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def frozen_parameters(model: nn.Module) -> Iterator[None]:
    """No parameter of ``model`` takes part in the graph: gradients of the input alone."""
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


def ascent(
    function: PerExample,
    x: Tensor,
    *,
    norm: Norm,
    epsilon: float,
    steps: int,
    rule: StepRule,
    start: Tensor | None = None,
) -> Tensor:
    """Perturbation ``(b, ...)`` after ``steps`` ascent steps on ``function``: the last one.

    Projected on the ball and on the box [0, 1] around ``x`` after every step (Madry et al. 2018,
    arXiv:1706.06083, equation 2). Costs one forward and one backward pass a step and no more,
    which is why training does not use the search of the analyses, which also looks at values.

    Args:
        function: images, not perturbations, to one number an image.
        x: images in [0, 1].
        norm: norm of the ball of radius ``epsilon``.
        epsilon: in pixel units.
        steps: gradient steps.
        rule: how a gradient becomes a step.
        start: first perturbation, projected before use; None for 0.
    """
    radius = torch.full((len(x),), epsilon, dtype=x.dtype, device=x.device)
    delta = torch.zeros_like(x) if start is None else project(start, norm, radius, x=x)
    moments = rule.moments(delta)
    for step in range(1, steps + 1):
        count = torch.full_like(radius, step)
        gradient = input_gradient(function, x + delta)
        unit, moments = rule.unit(gradient, count, moments)
        size = per_row(rule.sizes(count, radius), delta)
        delta = project(delta + unit * size, norm, radius, x=x)
    return delta


def in_cube(unit: Tensor, epsilon: float) -> Tensor:
    """Numbers in [0, 1) spread over [-epsilon, epsilon)."""
    return (2 * unit - 1) * epsilon
