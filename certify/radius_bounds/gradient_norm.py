"""The largest gradient norm of a loss in a ball around each image: a local Lipschitz constant.

CLEVER (Weng et al. 2018, arXiv:1801.10578) samples gradients at random points of the ball, which
in image dimension miss steep directions. Here the gradient norm is maximised by ascent, which
gives a lower estimate of the supremum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from robcert.certify.local_linearity import halving_rule
from robcert.certify.numerics import (
    finite,
    per_row,
    project,
    random_start,
    steepest,
    value_and_gradient,
)

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.local_linearity import Tangent

STREAM = "bounds/ball"


@dataclass(frozen=True, slots=True)
class GradientNormSearch:
    """How the largest gradient norm is searched for.

    Attributes:
        norm: norm of the ball.
        radius: radius of the ball, pixel units.
        steps: steps of each restart.
        restarts: random initial perturbations.
        seed: of the random perturbations.
    """

    norm: Norm
    radius: float
    steps: int
    restarts: int
    seed: int


def largest_gradient_norm(plane: Tangent, batch: Batch, search: GradientNormSearch) -> Tensor:
    r"""Largest dual norms ``(b,)`` of the loss gradient found in the ball, without pixel box.

    The ascent direction is :math:`\nabla \ell(x + \delta + h u) - \nabla \ell(x + \delta)` with u
    the steepest direction of the loss and h half the radius: a finite difference of the Hessian-
    vector product that also sees the kinks of ReLU, where the Hessian itself is 0. Costs two
    gradients per step.
    """
    norm, radius, steps = search.norm, search.radius, search.steps
    best = norm.dual.of(plane.gradient)
    rule = halving_rule(norm, steps)
    radii = per_row(radius, plane.x).flatten()
    random_point = partial(random_start, norm=norm, epsilon=radius, seed=search.seed)
    for restart in range(search.restarts):
        delta = random_point(batch.index, plane.x, stream=STREAM, block=restart)
        for step in range(1, steps + 1):
            here = _gradient(plane, delta)
            ahead = project(delta + 0.5 * radius * steepest(norm, here), norm, radius)
            there = _gradient(plane, ahead)
            best = torch.maximum(best, torch.maximum(norm.dual.of(here), norm.dual.of(there)))
            t = torch.full_like(radii, step)
            bend = there - here
            delta = delta + steepest(norm, bend) * per_row(rule.sizes(t, radii), delta)
            if (flat := ~bend.flatten(1).any(1)).any():  # locally affine: no ascent direction
                some, block = batch.index[flat.cpu().numpy()], restart * steps + step
                delta[flat] = random_point(
                    some, plane.x[flat], stream=f"{STREAM}/elsewhere", block=block
                )
            delta = project(delta, norm, radius)
        best = torch.maximum(best, norm.dual.of(_gradient(plane, delta)))
    return best


def _gradient(plane: Tangent, delta: Tensor) -> Tensor:
    def loss(point: Tensor) -> Tensor:
        return plane.loss.of(plane.classifier.twin_logits(point), plane.y)

    return finite(value_and_gradient(loss, plane.x + delta)[1])
