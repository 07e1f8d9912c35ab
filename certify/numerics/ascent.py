"""Projected gradient ascent in a ball, separately for each image; behind attacks, gamma, omega."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball, Norm

from .gradients import value_and_gradient
from .projections import feasible, per_row, project
from .sampling import generator, point_of_each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Objective = Callable[[Tensor], Tensor]
"""Maps perturbations ``(b, ...)`` to one value per image ``(b,)``, differentiable."""

Elsewhere = Callable[[int, Tensor], Tensor]
"""Maps the number of a step and a mask of images ``(b,)`` to new perturbations of those images."""

Moments = tuple[Tensor, ...]
"""State of a step rule between steps; the first axis of every tensor is the image."""


class Direction(StrEnum):
    """How a gradient is turned into a step of length 1."""

    SIGN = "sign"
    L2 = "l2"
    L1 = "l1"
    ADAM = "adam"

    @classmethod
    def steepest(cls, norm: Norm) -> Direction:
        """Steepest ascent in ``norm``."""
        return {Norm.LINF: cls.SIGN, Norm.L2: cls.L2, Norm.L1: cls.L1}[norm]


@dataclass(frozen=True, slots=True)
class StepRule:
    """How gradients are turned into steps; an image whose gradient is zero does not move.

    Attributes:
        direction: sign of the gradient; gradient over its l2 norm; sign at its largest entry (l1);
            Adam's ratio of moments (Kingma & Ba 2015), whose entries have size near 1. Adam suits
            linf: for a constant gradient its direction is the sign, which is not the steepest
            direction in an l2 or l1 ball.
        size: length of the step in pixel units, or in units of the radius if ``relative``.
        relative: whether ``size`` is in units of the radius.
        drops: (step, factor) pairs: the size is multiplied by the factor after that step.
        smoothing: Adam's epsilon.
    """

    direction: Direction
    size: float
    relative: bool = False
    drops: tuple[tuple[int, float], ...] = ()
    smoothing: float = 1e-9

    def sizes(self, t: Tensor, epsilon: Tensor) -> Tensor:
        """Lengths ``(b,)`` of the steps with the numbers ``t (b,)``, counted from 1."""
        sizes = self.size * (epsilon if self.relative else torch.ones_like(epsilon))
        for step, factor in self.drops:
            sizes = torch.where(t > step, sizes * factor, sizes)
        return sizes

    def moments(self, like: Tensor) -> Moments:
        """State of the rule before the first step."""
        if self.direction is Direction.ADAM:
            return torch.zeros_like(like), torch.zeros_like(like)
        return ()

    def unit(self, gradient: Tensor, t: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Step of length 1 along ``gradient (b, ...)``, and the new moments; ``t (b,)`` from 1."""
        if self.direction is Direction.SIGN:
            return gradient.sign(), moments
        if self.direction is Direction.L2:
            return normalised(gradient), moments
        if self.direction is Direction.L1:
            return largest_entry(gradient), moments
        first = torch.lerp(moments[0], gradient, 1 - 0.9)
        second = torch.lerp(moments[1], gradient.square(), 1 - 0.999)
        mean = first / per_row(_shortfall(0.9, t, gradient), gradient)
        square = second / per_row(_shortfall(0.999, t, gradient), gradient)
        return mean.div_(square.sqrt_().add_(self.smoothing)), (first, second)


def _shortfall(decay: float, t: Tensor, like: Tensor) -> Tensor:
    """1 - decay^t for the steps ``t (b,)``, with the same bits in a batch of any size.

    torch's powers differ in the last bit at the end of a batch, and 1 minus a power loses digits.
    """
    return -torch.expm1(t.to(like.dtype) * math.log(decay))


@dataclass(frozen=True, slots=True)
class AscentConfig:
    """How an ascent is run.

    Attributes:
        steps: gradient steps.
        rule: how a gradient is turned into a step.
        box: whether ``x + delta`` is kept in [0, 1].
    """

    steps: int
    rule: StepRule
    box: bool = True


@dataclass(frozen=True, slots=True)
class Ascent:
    """Results of the ascents of a batch.

    Attributes:
        best_value: largest value on the way ``(b,)``; -inf where every value was NaN.
        best_delta: perturbation of that value ``(b, ...)``.
        last_value: value after the last step ``(b,)``.
        last_delta: perturbation after the last step ``(b, ...)``.
        n_gradients: gradients per image (forward passes: one more).
    """

    best_value: Tensor
    best_delta: Tensor
    last_value: Tensor
    last_delta: Tensor
    n_gradients: int


def maximise(
    objective: Objective,
    x: Tensor,
    ball: Ball,
    config: AscentConfig,
    *,
    initial_perturbation: Tensor | None = None,
    elsewhere: Elsewhere | None = None,
) -> Ascent:
    r"""Largest values of ``objective`` over :math:`\|\delta\|_p \le \epsilon` that ascent finds.

    Projected gradient ascent, separately for each image; the objective is evaluated before every
    step and after the last. The projection does not reset Adam's moments. Entries of a gradient
    that are NaN or infinite count as 0.

    Args:
        objective: maps perturbations to values; see :data:`Objective`.
        x: images ``(b, c, h, w)`` in [0, 1].
        ball: the balls of the perturbations.
        config: how the ascent is run.
        initial_perturbation: ``(b, c, h, w)``, projected before use; None for 0.
        elsewhere: new perturbations of images whose gradient is exactly 0; None: they do not move.
    """
    norm, inside = ball.norm, x if config.box else None
    rule, radius = config.rule, per_row(ball.epsilon, x).flatten()
    delta = torch.zeros_like(x)
    if initial_perturbation is not None:
        delta = project(initial_perturbation, norm, radius, x=inside)
    best_delta, best_value = delta, torch.full_like(radius, -torch.inf)
    moments = rule.moments(delta)
    for step in range(1, config.steps + 1):
        value, gradient = value_and_gradient(objective, delta)
        best_value, best_delta = _better(best_value, best_delta, value, delta)
        t = torch.full_like(radius, step)
        uphill = finite(gradient)
        if config.box:
            uphill = feasible(uphill, x + delta)
        unit, moments = rule.unit(uphill, t, moments)
        moved = delta + unit * per_row(rule.sizes(t, radius), delta)
        if elsewhere is not None and (flat := Norm.LINF.of(gradient) == 0).any():
            moved[flat] = elsewhere(step, flat)
        delta = project(moved, norm, radius, x=inside)
    with torch.no_grad():
        value = objective(delta)
    best_value, best_delta = _better(best_value, best_delta, value, delta)
    return Ascent(best_value, best_delta, value, delta, config.steps)


@dataclass(frozen=True, slots=True)
class RandomStart:
    """Uniform random points of balls, each from the random stream of its image alone.

    Attributes:
        seed: seed of the run.
        stream: name of the stream, e.g. ``attack/pgd/0``.
        block: number within the stream.
    """

    seed: int
    stream: str
    block: int = 0

    def draw(self, indices: NDArray[np.int64], like: Tensor, ball: Ball) -> Tensor:
        """One perturbation per image, shaped, placed and typed like ``like (b, ...)``.

        Args:
            indices: positions of the images in the data set ``(b,)``.
            like: tensor that gives shape, device and type.
            ball: the balls.
        """
        streams = (generator(self.seed, self.stream, int(i), self.block) for i in indices)
        unit = point_of_each(ball.norm, 1.0, tuple(like.shape[1:]), streams).to(like)
        return unit * per_row(ball.epsilon, like)


def finite(gradient: Tensor) -> Tensor:
    """``gradient`` with 0 where it is not a finite number."""
    return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def steepest(norm: Norm, gradient: Tensor) -> Tensor:
    """Directions ``(b, ...)`` of length 1 in ``norm`` along which ``gradient`` is largest."""
    direction = Direction.steepest(norm)
    if direction is Direction.SIGN:
        return gradient.sign()
    return normalised(gradient) if direction is Direction.L2 else largest_entry(gradient)


def normalised(gradient: Tensor) -> Tensor:
    """``gradient (b, ...)`` divided by its l2 norms; 0 where it is 0."""
    # scaled first: the square of a small float32 gradient underflows to 0
    largest = per_row(Norm.LINF.of(gradient), gradient)
    scaled = torch.where(largest > 0, gradient / largest, 0.0)
    return scaled / per_row(Norm.L2.of(scaled), scaled).clamp_min(1)


def largest_entry(gradient: Tensor) -> Tensor:
    """The sign of the largest entry in absolute value of ``gradient (b, ...)``, 0 elsewhere."""
    flat = gradient.flatten(1)
    at = flat.abs().argmax(1, keepdim=True)
    unit = torch.zeros_like(flat).scatter(1, at, flat.gather(1, at).sign())
    return unit.view_as(gradient)


def _better(
    best_value: Tensor, best_delta: Tensor, value: Tensor, delta: Tensor
) -> tuple[Tensor, Tensor]:
    better = value > best_value
    if better.all():
        return value, delta
    rows = better.view(-1, *[1] * (delta.dim() - 1))
    return torch.where(better, value, best_value), torch.where(rows, delta, best_delta)
