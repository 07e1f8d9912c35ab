r"""The largest deviation of a loss from its tangent in a ball around each image.

The residual at a perturbation is :math:`r(\delta) = \ell(x + \delta) - \ell(x) -
\langle \delta, \nabla \ell(x) \rangle`. Local linearity is :math:`\gamma(\epsilon, x) =
\max_{\|\delta\| \le \epsilon} |r(\delta)|` (Qin et al. 2019, arXiv:1907.02610, equations 5 and 6);
without the absolute value it is the residual whose supremum over images is
:math:`\omega(\epsilon)` (Finlay & Oberman 2019, arXiv:1905.11468, equation 5). The maximum is
searched for by gradient ascent, which gives a lower estimate; in the dimension of images, random
points miss nearly all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball
from robcert.certify.errors import ModelFileError
from robcert.certify.numerics import (
    AscentConfig,
    Direction,
    RandomStart,
    StepRule,
    largest_size,
    maximise,
    rounding_floor,
    sums,
    value_and_gradient,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robcert.certify.core import Batch, Norm
    from robcert.certify.model import Classifier
    from robcert.certify.numerics import Elsewhere, ImageLoss


class Sided(StrEnum):
    """Which deviations from the tangent count."""

    TWO = "two"
    UPPER = "upper"
    LOWER = "lower"

    def of(self, residual: Tensor) -> Tensor:
        """The maximised quantity, from residuals of any shape."""
        if self is Sided.TWO:
            return residual.abs()
        return residual if self is Sided.UPPER else -residual


@dataclass(frozen=True, slots=True)
class Tangent:
    """The losses of images and their tangent planes.

    Attributes:
        classifier: model; its twin computes losses and gradients.
        x: images ``(b, c, h, w)``.
        y: classes that the losses refer to ``(b,)``.
        loss: loss that is linearised.
        value: losses at the images ``(b,)``.
        gradient: their gradients ``(b, c, h, w)``.
        scale: largest size ``(b,)`` of the finite logits of each image, for the rounding floor.
    """

    classifier: Classifier
    x: Tensor
    y: Tensor
    loss: ImageLoss
    value: Tensor
    gradient: Tensor
    scale: Tensor

    def part(self, rows: NDArray[np.int64]) -> Tangent:
        """The tangents of the images at ``rows``."""
        tensors = (self.x, self.y, self.value, self.gradient, self.scale)
        x, y, value, gradient, scale = (tensor[rows] for tensor in tensors)
        return Tangent(self.classifier, x, y, self.loss, value, gradient, scale)

    def linear_term(self, delta: Tensor) -> Tensor:
        r""":math:`\langle \delta, \nabla \ell(x) \rangle`, ``(b,)``."""
        return sums(delta * self.gradient)

    def residual(self, delta: Tensor) -> Tensor:
        r""":math:`r(\delta)`, ``(b,)``."""
        return self.change(delta) - self.linear_term(delta)

    def change(self, delta: Tensor) -> Tensor:
        r""":math:`\ell(x + \delta) - \ell(x)`, ``(b,)``."""
        return self.loss.of(self.classifier.twin_logits(self.x + delta), self.y) - self.value

    def floor(self, delta: Tensor) -> Tensor:
        """Size below which residuals at ``delta`` are rounding, ``(b,)``.

        Two losses of the size of the logits are subtracted, then the linear term.
        """
        return rounding_floor(self.scale + self.linear_term(delta).abs())


def tangent(classifier: Classifier, x: Tensor, y: Tensor, loss: ImageLoss) -> Tangent:
    """Tangent planes of ``loss`` at the images ``x (b, c, h, w)``; one gradient per image."""
    scales = []

    def values(point: Tensor) -> Tensor:
        logits = classifier.twin_logits(point)
        scales.append(largest_size(logits.detach()))
        return loss.of(logits, y)

    value, gradient = value_and_gradient(values, x)
    return Tangent(classifier, x, y, loss, value, gradient, scales[0])


def finite_tangent(classifier: Classifier, x: Tensor, y: Tensor, loss: ImageLoss) -> Tangent:
    """Tangent planes as of :func:`tangent`, if the loss and its gradient are finite.

    Raises:
        ModelFileError: they are not at one of the images, which therefore has no tangent.
    """
    found = tangent(classifier, x, y, loss)
    if not bool(found.value.isfinite().all() and found.gradient.isfinite().all()):
        message = "the loss or its gradient is NaN or infinite there, so it has no tangent"
        raise ModelFileError(message)
    return found


@dataclass(frozen=True, slots=True)
class Search:
    """Configuration of a search by independent ascents from random points.

    Attributes:
        norm: norm of the ball.
        sided: which deviations count.
        steps: gradient steps of each restart.
        rule: how a gradient becomes a step.
        restarts: random initial perturbations, at least 1; the zero perturbation is stationary.
        box: keep perturbed images in [0, 1].
        first_rule: rule of the first restart, if it differs from ``rule``.
    """

    norm: Norm
    sided: Sided
    steps: int
    rule: StepRule
    restarts: int = 1
    box: bool = True
    first_rule: StepRule | None = None

    @property
    def n_gradients(self) -> int:
        """Gradients per image, besides the tangent's."""
        return self.steps * self.restarts

    def largest(
        self, tangents: Tangent, batch: Batch, *, epsilon: float, seed: int, stream: str
    ) -> Deviation:
        """Largest deviations that this search finds; see `largest_deviation`."""
        return largest_deviation(tangents, batch, self, epsilon=epsilon, seed=seed, stream=stream)


@dataclass(frozen=True, slots=True)
class Deviation:
    """Largest deviations found, ``(b,)`` each.

    Attributes:
        value: deviation, at least 0 (its value at the zero perturbation).
        last: deviation at the last iterate, maximum over restarts, at least 0.
        delta: perturbation of ``value``, ``(b, c, h, w)``.
        restart: restart that found it, 0 where none exceeded the zero perturbation.
    """

    value: Tensor
    last: Tensor
    delta: Tensor
    restart: Tensor

    def part(self, rows: NDArray[np.int64]) -> Deviation:
        """The deviations of the images at ``rows``."""
        tensors = (self.value, self.last, self.delta, self.restart)
        return Deviation(*(tensor[rows] for tensor in tensors))

    def with_part(self, rows: NDArray[np.int64], found: Deviation) -> Deviation:
        """These deviations with those of the images at ``rows`` replaced by ``found``."""
        value, last, delta, restart = (
            tensor.clone() for tensor in (self.value, self.last, self.delta, self.restart)
        )
        value[rows], last[rows] = found.value, found.last
        delta[rows], restart[rows] = found.delta, found.restart
        return Deviation(value, last, delta, restart)


def adam_rule(size: float = 0.1) -> StepRule:
    """Adam's steps in pixel units; 50 of 0.1 measure gamma in linf (Qin et al., footnote 5)."""
    return StepRule(Direction.ADAM, size)


def halving_rule(norm: Norm, steps: int) -> StepRule:
    """Steepest ascent by 4 radii, halved after each quarter of ``steps``.

    Steps longer than the ball's diameter are projected to the opposite side of the ball, where
    residuals are largest. On trained networks this found 2 to 7 % larger deviations than Adam's
    rule in linf at 50 steps, and several times larger ones in l2 and l1, where a direction with
    nearly equal entries, as Adam's, is a poor one.
    """
    drops = tuple((steps * quarter // 4, 0.5) for quarter in (1, 2, 3))
    return StepRule(Direction.steepest(norm), 4.0, relative=True, drops=drops)


def largest_deviation(
    tangents: Tangent, batch: Batch, search: Search, *, epsilon: float, seed: int, stream: str
) -> Deviation:
    """Largest deviations from the tangent that ascent finds within ``epsilon`` (pixel units).

    Args:
        tangents: tangents of the images.
        batch: the images' positions in the data set, which seed their initial perturbations.
        search: configuration of the search.
        epsilon: radius of the ball.
        seed: seed of the run.
        stream: name of the random stream.
    """
    ball = Ball(search.norm, epsilon)

    def elsewhere(block: int, rows: Tensor) -> Tensor:
        start = RandomStart(seed, f"{stream}/elsewhere", block)
        return start.draw(batch.index[rows.cpu().numpy()], tangents.x[rows], ball)

    def one(restart: int) -> Deviation:
        first = restart * search.steps
        rule = (search.first_rule if restart == 0 else None) or search.rule
        return ascend(
            tangents,
            replace(search, rule=rule),
            RandomStart(seed, stream, restart).draw(batch.index, tangents.x, ball),
            epsilon=epsilon,
            elsewhere=lambda step, rows: elsewhere(first + step, rows),
        )

    best = one(0)
    for restart in range(1, search.restarts):
        best = better_of(best, one(restart), restart)
    return best


def ascend(
    tangents: Tangent,
    search: Search,
    start: Tensor,
    *,
    epsilon: float,
    elsewhere: Elsewhere | None = None,
) -> Deviation:
    """Largest deviations during one ascent from ``start (b, c, h, w)``, that is one restart.

    Where the loss is affine near an image, as between the kinks of ReLU, the gradient of the
    deviation is 0; such an image continues at ``elsewhere`` (see `ascent.maximise`).
    """
    ascent = maximise(
        lambda delta: search.sided.of(tangents.residual(delta)),
        tangents.x,
        Ball(search.norm, epsilon),
        AscentConfig(search.steps, search.rule, search.box),
        initial_perturbation=start,
        elsewhere=elsewhere,
    )
    positive = (ascent.best_value > 0).view(-1, *[1] * (tangents.x.dim() - 1))
    return Deviation(
        ascent.best_value.clamp_min(0),
        ascent.last_value.clamp_min(0),
        torch.where(positive, ascent.best_delta, 0.0),
        torch.zeros_like(tangents.y),
    )


def better_of(best: Deviation, found: Deviation, restart: int | Tensor) -> Deviation:
    """The larger deviation of two searches, per image; ``restart`` is the number of ``found``."""
    better = found.value > best.value
    rows = better.view(-1, *[1] * (best.delta.dim() - 1))
    return Deviation(
        torch.where(better, found.value, best.value),
        torch.maximum(best.last, found.last),
        torch.where(rows, found.delta, best.delta),
        torch.where(better, restart, best.restart),
    )
