r"""Carlini & Wagner 2017 (arXiv:1608.04644), l2.

:math:`\min_w \|x(w) - x_0\|_2^2 + c \max(-m(x(w)), 0)` with :math:`x(w) = (\tanh w + 1)/2` and m
the logit margin, by Adam, with a bisection of c.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import Direction, StepRule, per_row

from ..search.boundary_tangents import nearest_class_boundary, target_margin
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

_INSIDE = 0.999  # at 1 - 1e-6, as often seen, black and white pixels hardly ever move
_LARGEST = 1e10
_LEAST = 1e-5
_STRIDES = 4  # distances of the nearest face in one of Adam's first steps


def carlini_wagner(
    classifier: Classifier,
    batch: Batch,
    *,
    steps: int = 200,
    searches: int = 9,
    step: float = 0.05,
    first: float = 0.1,
) -> Found:
    """Nearest adversarial images in l2.

    Args:
        classifier: the model.
        batch: images.
        steps: Adam steps for each c.
        searches: values of c.
        step: Adam's first step in w; a fifth of it after half, a fifth again after 3/4.
        first: first value of c.
    """
    state = SearchState(classifier, batch, Norm.L2)
    run_carlini_wagner(state, state.correct, steps=steps, searches=searches, step=step, first=first)
    return state.result()


def run_carlini_wagner(
    state: SearchState,
    rows: Tensor,
    *,
    steps: int,
    searches: int = 9,
    step: float = 0.05,
    first: float = 0.1,
    rivals: int = 9,
) -> None:
    """The attack, and once more towards the nearest class boundary where that is another class.

    As in :mod:`fmn`: nearest in the tangents at the image, of the ``rivals`` with the largest
    clean logits. Adam's steps are no longer than a few of those distances, or it would never
    shrink_and_verify at a near boundary.
    """
    if not len(rows):
        return
    nearest, distance = nearest_class_boundary(state, rows, rivals)
    # a step moves a grey pixel by half of it
    longest = 2 * _STRIDES * distance / math.sqrt(state.batch.x[0].numel())
    sizes = longest.clamp(_LEAST, step).float()
    reached = _search(state, rows, None, steps, searches, sizes, first)
    missed = rows[nearest[rows] != reached]
    _search(state, missed, nearest, steps, searches, sizes, first)


def _search(
    state: SearchState,
    rows: Tensor,
    rivals: Tensor | None,
    steps: int,
    searches: int,
    sizes: Tensor,
    first: float,
) -> Tensor:
    """Class of the nearest image found ``(r,)``, -1 where none is; the image goes to the state.

    c is multiplied by ten until the attack succeeds, then bisected.
    """
    weight = torch.full((len(rows),), first, device=rows.device)
    low, high = torch.zeros_like(weight), torch.full_like(weight, _LARGEST)
    best, best_norm = state.x(rows).clone(), torch.full_like(weight, torch.inf)
    reached = torch.full_like(rows, -1)
    for _ in range(searches if len(rows) else 0):
        found, found_norm, found_class = _descend(state, rows, rivals, weight, steps, sizes[rows])
        better = found_norm < best_norm
        best[better], best_norm[better] = found[better], found_norm[better]
        reached[better] = found_class[better]
        hit = found_norm.isfinite()
        low, high = torch.where(hit, low, weight), torch.where(hit, weight, high)
        weight = torch.where(high < _LARGEST, (low + high) / 2, weight * 10)
    state.shrink_and_verify(rows[best_norm.isfinite()], best[best_norm.isfinite()])
    return reached


def _descend(
    state: SearchState,
    rows: Tensor,
    rivals: Tensor | None,
    weight: Tensor,
    steps: int,
    sizes: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest misclassified iterates, their distances, inf where there is none, and classes."""
    x, y = state.x(rows), state.y(rows)
    drops = ((steps // 2, 0.2), (3 * steps // 4, 0.2))
    rule = StepRule(Direction.ADAM, 1.0, relative=True, drops=drops, smoothing=1e-8)
    # in float32 it rounds by an entry's place in the batch; of float64 that is cut off
    w = ((2 * x - 1) * _INSIDE).double().atanh().to(x)
    moments = rule.moments(w)
    best, best_norm = x.clone(), torch.full((len(rows),), torch.inf, device=x.device)
    reached = torch.full_like(rows, -1)
    for t in range(1, steps + 1):
        point = (w.tanh() + 1) / 2
        logits, gradient = state.gradient(
            rows, point, lambda logits, at: target_margin(state, logits, at, rivals).clamp_max(0)
        )
        size = Norm.L2.of(point - x)
        better = adversarial(logits, y) & (size < best_norm)
        best[better], best_norm[better] = point[better], size[better]
        reached[better] = logits.argmax(1)[better]
        # ascent of minus the objective, by the chain rule through tanh
        uphill = (per_row(weight, x) * gradient - 2 * (point - x)) * (1 - w.tanh().square()) / 2
        at = torch.full_like(weight, t)
        unit, moments = rule.unit(uphill, at, moments)
        w = w + unit * per_row(rule.sizes(at, sizes), unit)
    return best, best_norm, reached
