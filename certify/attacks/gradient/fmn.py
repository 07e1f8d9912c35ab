"""Fast minimum-norm attack (Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827, Algorithm 1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import classes_of, feasible, normalised, project

from ..search.boundary_tangents import nearest_class_boundary, target_margin
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

FIRST_STEP = {Norm.LINF: 10.0, Norm.L2: 1.0, Norm.L1: 3.0}
"""Length of the first step in the l2 norm."""

_LARGE = 1e6  # larger than any distance in the pixel box; an infinite radius would give NaN


def fmn(
    classifier: Classifier, batch: Batch, *, norm: Norm, steps: int = 100, step: float | None = None
) -> Found:
    """Nearest adversarial images by ascent of the margin in a ball that shrinks and grows.

    Args:
        classifier: the model.
        batch: images.
        norm: norm of the distance.
        steps: gradients per image.
        step: length of the first step; None for :data:`FIRST_STEP`.
    """
    state = SearchState(classifier, batch, norm)
    run_fmn(state, state.correct, steps=steps, step=step)
    return state.result()


def run_fmn(
    state: SearchState, rows: Tensor, *, steps: int, step: float | None = None, targets: int = 9
) -> None:
    """FMN on a search state, and once more towards the nearest class boundary if FMN missed it.

    The plain attack follows the class with the largest logit. Where the boundary to another class
    (among the ``targets`` classes with the largest clean logits) is nearer by the tangents at the
    clean image, a second run goes towards that class; plain FMN would miss it even on a linear
    model.
    """
    if not len(rows):
        return
    length = step or FIRST_STEP[state.norm]
    reached = _descend(state, rows, None, steps, length)
    if targets and state.classifier.num_classes > 2:
        nearest, _ = nearest_class_boundary(state, rows, targets)
        missed = nearest[rows] != reached
        _descend(state, rows[missed], nearest, steps, length)


def _descend(
    state: SearchState, rows: Tensor, target: Tensor | None, steps: int, first: float
) -> Tensor:
    r"""Class of the nearest image found ``(r,)``, -1 where none is; the state keeps the image.

    The first radius is the distance of the linearised boundary, :math:`\|\delta\| + |m| /
    \|\nabla m\|_*` for the margin m; the radius is multiplied by :math:`1 - \gamma` at an
    adversarial iterate and by :math:`1 + \gamma` elsewhere. Step and :math:`\gamma` decrease by a
    cosine.
    """
    x, y, norm = state.x(rows), state.y(rows), state.norm
    delta = torch.zeros_like(x)
    best, best_norm = x.clone(), torch.full((len(rows),), torch.inf, device=x.device)
    radius, reached = best_norm.clone(), torch.full_like(rows, -1)
    for t in range(steps if len(rows) else 0):
        decay = (1 + math.cos(math.pi * t / steps)) / 2
        gamma = 0.001 + 0.049 * decay
        logits, gradient = state.gradient(
            rows, x + delta, lambda logits, at: target_margin(state, logits, at, target)
        )
        hit, size = adversarial(logits, y), norm.of(delta)
        better = hit & (size < best_norm)
        best_norm = torch.where(better, size, best_norm)
        best[better], reached[better] = (x + delta)[better], classes_of(logits)[better]
        slope = norm.dual.of(gradient).clamp_min(torch.finfo(size.dtype).tiny)
        ahead = size + target_margin(state, logits, rows, target).abs() / slope
        # multiplied in both cases, unlike the paper's: on the boundary of a flat model the radius
        # would not change
        outward = torch.where(best_norm.isfinite(), radius, ahead) * (1 + gamma)
        radius = torch.where(hit, torch.minimum(radius * (1 - gamma), best_norm), outward)
        uphill = normalised(feasible(gradient, x + delta))
        moved = delta + first * (0.01 + 0.99 * decay) * uphill
        delta = project(moved, norm, radius.clamp_max(_LARGE), x=x)
    found = best_norm.isfinite()
    state.shrink_and_verify(rows[found], best[found])
    return reached
