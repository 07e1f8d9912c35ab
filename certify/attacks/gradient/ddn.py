"""Decoupled direction and norm (Rony et al. 2019, arXiv:1811.09600, Algorithm 1), l2 only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import Loss, classes_of, feasible, into_box, normalised, per_row

from ..search.boundary_tangents import nearest_class_boundary, target_margin
from ..search.state import Found, Score, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

_LEAST = 1e-4  # a length of 0, which a tie of two classes gives, would remain 0


def ddn(
    classifier: Classifier, batch: Batch, *, steps: int = 100, loss: Loss = Loss.MARGIN
) -> Found:
    """Nearest adversarial images in l2; the paper maximises the cross-entropy."""
    state = SearchState(classifier, batch, Norm.L2)
    run_ddn(state, state.correct, steps=steps, loss=loss)
    return state.result()


def run_ddn(
    state: SearchState,
    rows: Tensor,
    *,
    steps: int,
    loss: Loss = Loss.MARGIN,
    gamma: float = 0.05,
    targets: int = 9,
) -> None:
    """DDN on a search state, and once more towards the nearest class boundary if DDN missed it.

    As in :mod:`fmn`: nearest by the tangents at the clean image, among the ``targets`` classes with
    the largest clean logits.
    """
    if not len(rows):
        return
    nearest, distance = nearest_class_boundary(state, rows, targets)
    first = torch.where(distance.isfinite(), distance, 1.0).clamp_min(_LEAST).float()
    reached = _descend(state, rows, lambda z, at: loss.of(z, state.y(at)), first, steps, gamma)
    missed = rows[nearest[rows] != reached]
    _descend(state, missed, lambda z, at: target_margin(state, z, at, nearest), first, steps, gamma)


def _descend(
    state: SearchState, rows: Tensor, score: Score, first: Tensor, steps: int, gamma: float
) -> Tensor:
    r"""Class of the nearest image found ``(r,)``, -1 where none is; the state keeps the image.

    After a step along the gradient the perturbation is scaled to a length: ``first (b,)`` at first,
    then multiplied by :math:`1 - \gamma` at an adversarial iterate and by :math:`1 + \gamma`
    elsewhere. The step decreases from 1 to 0.01 by a cosine. The paper's first length is 1, from
    which many steps are needed to reach small distances.
    """
    x, y, length = state.x(rows), state.y(rows), first[rows]
    delta, reached = torch.zeros_like(x), torch.full_like(rows, -1)
    best, best_norm = x.clone(), torch.full_like(length, torch.inf)
    for t in range(steps if len(rows) else 0):
        step = 0.01 + 0.99 * (1 + math.cos(math.pi * t / steps)) / 2
        logits, gradient = state.gradient(rows, x + delta, score)
        hit, size = adversarial(logits, y), Norm.L2.of(delta)
        better = hit & (size < best_norm)
        best_norm = torch.where(better, size, best_norm)
        best[better], reached[better] = (x + delta)[better], classes_of(logits)[better]
        length = torch.where(hit, length * (1 - gamma), length * (1 + gamma))
        uphill = normalised(feasible(gradient, x + delta))
        moved = into_box(delta + step * uphill, x)
        delta = into_box(normalised(moved) * per_row(length, moved), x)
    state.shrink_and_verify(rows[best_norm.isfinite()], best[best_norm.isfinite()])
    return reached
