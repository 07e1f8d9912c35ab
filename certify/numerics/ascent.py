"""Projected gradient ascent in a ball, one problem an image: behind attacks, gamma and omega."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm

from .gradients import value_and_gradient
from .projections import feasible, per_row, project
from .sampling import generator, point_in_ball

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Objective = Callable[[Tensor], Tensor]
"""Perturbations ``(b, ...)`` to one value an image ``(b,)``, differentiable."""

Elsewhere = Callable[[int, Tensor], Tensor]
"""A step's number and which images ``(b,)`` to fresh perturbations for those."""

Moments = tuple[Tensor, ...]
"""What a step rule remembers; the first axis of every tensor is the image."""


class Direction(StrEnum):
    """How a gradient becomes a step of length 1."""

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
    """Steps from gradients; an image that has gradient zero stays where it is.

    Attributes:
        direction: sign of the gradient; gradient over its l2 norm; sign at its largest entry (l1);
            Adam's ratio of moments (Kingma & Ba 2015), whose entries are near 1 in size. Adam fits
            linf: for a steady gradient it is the sign, which in an l2 or l1 ball is not the best
            direction.
        size: length of the step in pixel units, or in units of the radius if ``relative``.
        relative: see ``size``.
        drops: (step, factor) pairs: the size is multiplied by the factor after that step.
        smoothing: Adam's epsilon.
    """

    direction: Direction
    size: float
    relative: bool = False
    drops: tuple[tuple[int, float], ...] = ()
    smoothing: float = 1e-9

    def sizes(self, t: Tensor, epsilon: Tensor) -> Tensor:
        """Lengths ``(b,)`` of the steps number ``t (b,)``, counted from 1."""
        sizes = self.size * (epsilon if self.relative else torch.ones_like(epsilon))
        for step, factor in self.drops:
            sizes = torch.where(t > step, sizes * factor, sizes)
        return sizes

    def moments(self, like: Tensor) -> Moments:
        """What the rule remembers before the first step."""
        if self.direction is Direction.ADAM:
            return torch.zeros_like(like), torch.zeros_like(like)
        return ()

    def unit(self, gradient: Tensor, t: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        """Step of length 1 number ``t (b,)`` along ``gradient (b, ...)``, and the new moments."""
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

    Powers have other last bits at the end of a batch, and 1 minus them loses digits.
    """
    return -torch.expm1(t.to(like.dtype) * math.log(decay))


@dataclass(frozen=True, slots=True)
class Ascent:
    """Where the ascents went.

    Attributes:
        best_value: largest value on the way ``(b,)``; -inf where it never was a number.
        best_delta: perturbation there ``(b, ...)``.
        last_value: value after the last step ``(b,)``.
        last_delta: perturbation there.
        n_gradients: gradients an image cost (forward passes: one more).
    """

    best_value: Tensor
    best_delta: Tensor
    last_value: Tensor
    last_delta: Tensor
    n_gradients: int


def maximise(
    objective: Objective,
    x: Tensor,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    steps: int,
    rule: StepRule,
    start: Tensor | None = None,
    box: bool,
    elsewhere: Elsewhere | None = None,
) -> Ascent:
    r"""Maximum of ``objective`` over :math:`\|\delta\|_p \le \epsilon`, as far as ascent finds it.

    Projected gradient ascent, each image by itself; the objective is looked at before every step
    and after the last. Adam's moments are not reset by the projection. Gradients that are not
    numbers count as 0.

    Args:
        objective: perturbations to values; see :data:`Objective`.
        x: images ``(b, c, h, w)`` in [0, 1].
        norm: norm of the ball.
        epsilon: radius in pixel units, one number or one an image ``(b,)``.
        steps: gradient steps.
        rule: how a gradient becomes a step.
        start: first perturbations ``(b, c, h, w)``, projected before use; None for 0.
        box: keep ``x + delta`` in [0, 1].
        elsewhere: where an image goes whose gradient is exactly 0; None leaves it where it is.
    """
    inside = x if box else None
    radius = per_row(epsilon, x).flatten()
    delta = torch.zeros_like(x) if start is None else project(start, norm, radius, x=inside)
    best_delta, best_value = delta, torch.full_like(radius, -torch.inf)
    moments = rule.moments(delta)
    for step in range(1, steps + 1):
        value, gradient = value_and_gradient(objective, delta)
        best_value, best_delta = _better(best_value, best_delta, value, delta)
        t = torch.full_like(radius, step)
        uphill = finite(gradient)
        if box:
            uphill = feasible(uphill, x + delta)
        unit, moments = rule.unit(uphill, t, moments)
        moved = delta + unit * per_row(rule.sizes(t, radius), delta)
        if elsewhere is not None and (flat := Norm.LINF.of(gradient) == 0).any():
            moved[flat] = elsewhere(step, flat)
        delta = project(moved, norm, radius, x=inside)
    with torch.no_grad():
        value = objective(delta)
    best_value, best_delta = _better(best_value, best_delta, value, delta)
    return Ascent(best_value, best_delta, value, delta, steps)


def random_start(
    indices: NDArray[np.int64],
    like: Tensor,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    seed: int,
    stream: str,
    block: int = 0,
) -> Tensor:
    """Perturbations shaped ``like (b, ...)``, uniform in the balls, from each image's own stream.

    Args:
        indices: positions of the images in the data set ``(b,)``.
        like: tensor whose shape, device and type the result takes.
        norm: norm of the balls.
        epsilon: radius in pixel units, one number or one an image ``(b,)``.
        seed: seed of the run.
        stream: name of the stream, e.g. ``attack/pgd/0``.
        block: number within the stream.
    """
    points = [
        point_in_ball(
            norm, 1.0, tuple(like.shape[1:]), generator=generator(seed, stream, int(index), block)
        )
        for index in indices
    ]
    unit = torch.stack(points).to(like) if points else torch.zeros_like(like)
    return unit * per_row(epsilon, like)


def finite(gradient: Tensor) -> Tensor:
    """``gradient`` with 0 where it is not a finite number."""
    return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def steepest(norm: Norm, gradient: Tensor) -> Tensor:
    """Vectors ``(b, ...)`` of length 1 in ``norm`` along which ``gradient`` rises fastest."""
    direction = Direction.steepest(norm)
    if direction is Direction.SIGN:
        return gradient.sign()
    return normalised(gradient) if direction is Direction.L2 else largest_entry(gradient)


def normalised(gradient: Tensor) -> Tensor:
    """``gradient (b, ...)`` over its l2 norms; 0 where it is 0."""
    # scaled first: the square of a small float32 gradient underflows to 0
    largest = per_row(Norm.LINF.of(gradient), gradient)
    scaled = torch.where(largest > 0, gradient / largest, 0.0)
    return scaled / per_row(Norm.L2.of(scaled), scaled).clamp_min(1)


def largest_entry(gradient: Tensor) -> Tensor:
    """The sign of the entry largest in size of ``gradient (b, ...)``, 0 elsewhere."""
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
