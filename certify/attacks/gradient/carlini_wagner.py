r"""Carlini & Wagner 2017 (arXiv:1608.04644), l2.

:math:`\min_w \|x(w) - x_0\|_2^2 + c \max(-m(x(w)), 0)` with :math:`x(w) = (\tanh w + 1)/2` and m
the logit margin, by Adam, with a bisection of c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import Direction, StepRule, classes_of, per_row

from ..search.boundary_tangents import nearest_class_boundary, target_margin
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

_INSIDE = 0.999  # with the usual 1 - 1e-6 black and white pixels hardly ever move
_LARGEST = 1e10
_LEAST = 1e-5
_STRIDES = 4  # longest first step of Adam, in distances of the nearest class boundary


@dataclass(frozen=True, slots=True)
class CarliniWagnerConfig:
    """How the attack is run.

    Attributes:
        steps: Adam steps for each c.
        searches: number of values of c.
        step_size: largest first step of Adam in w; divided by 5 after half of the steps, and again
            after three quarters.
        first_weight: first value of c.
        targets: classes whose boundaries are compared, those with the largest clean logits.
    """

    steps: int = 200
    searches: int = 9
    step_size: float = 0.05
    first_weight: float = 0.1
    targets: int = 9


DEFAULT = CarliniWagnerConfig()
"""200 steps for each of nine values of c."""


def carlini_wagner(
    classifier: Classifier, batch: Batch, config: CarliniWagnerConfig = DEFAULT
) -> Found:
    """Nearest adversarial images in l2."""
    state = SearchState(classifier, batch, Norm.L2)
    run_carlini_wagner(state, state.correct, config)
    return state.result()


def run_carlini_wagner(state: SearchState, rows: Tensor, config: CarliniWagnerConfig) -> None:
    """The attack, and once more towards the nearest class boundary where that is another class.

    As in :mod:`fmn`: nearest by the tangents at the clean image. Adam's steps are limited to a few
    of those distances, or it would not converge to a near boundary.
    """
    if not len(rows):
        return
    nearest, distance = nearest_class_boundary(state, rows, config.targets)
    # a step of w moves a grey pixel by half as much
    longest = 2 * _STRIDES * distance / math.sqrt(state.batch.x[0].numel())
    sizes = longest.clamp(_LEAST, config.step_size).float()
    reached = _search(state, rows, None, sizes, config)
    missed = rows[nearest[rows] != reached]
    _search(state, missed, nearest, sizes, config)


def _search(
    state: SearchState,
    rows: Tensor,
    target: Tensor | None,
    sizes: Tensor,
    config: CarliniWagnerConfig,
) -> Tensor:
    """Class of the nearest image found ``(r,)``, -1 where none is; the state keeps the image.

    c is multiplied by ten until the attack succeeds, then bisected.
    """
    weight = torch.full((len(rows),), config.first_weight, device=rows.device)
    low, high = torch.zeros_like(weight), torch.full_like(weight, _LARGEST)
    best, best_norm = state.x(rows).clone(), torch.full_like(weight, torch.inf)
    reached = torch.full_like(rows, -1)
    for _ in range(config.searches if len(rows) else 0):
        found, found_norm, found_class = _descend(
            state, rows, target, weight, config.steps, sizes[rows]
        )
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
    target: Tensor | None,
    weight: Tensor,
    steps: int,
    sizes: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest misclassified iterates, their distances (inf for none) and their classes."""
    x, y = state.x(rows), state.y(rows)
    drops = ((steps // 2, 0.2), (3 * steps // 4, 0.2))
    rule = StepRule(Direction.ADAM, 1.0, relative=True, drops=drops, smoothing=1e-8)
    # in float32 the last bit depends on the entry's place in the batch; float64 is rounded after
    w = ((2 * x - 1) * _INSIDE).double().atanh().to(x)
    moments = rule.moments(w)
    best, best_norm = x.clone(), torch.full((len(rows),), torch.inf, device=x.device)
    reached = torch.full_like(rows, -1)
    for t in range(1, steps + 1):
        point = (w.tanh() + 1) / 2
        logits, gradient = state.gradient(
            rows, point, lambda logits, at: target_margin(state, logits, at, target).clamp_max(0)
        )
        size = Norm.L2.of(point - x)
        better = adversarial(logits, y) & (size < best_norm)
        best[better], best_norm[better] = point[better], size[better]
        reached[better] = classes_of(logits)[better]
        # ascent of minus the objective, by the chain rule through tanh
        uphill = (per_row(weight, x) * gradient - 2 * (point - x)) * (1 - w.tanh().square()) / 2
        at = torch.full_like(weight, t)
        unit, moments = rule.unit(uphill, at, moments)
        w = w + unit * per_row(rule.sizes(at, sizes), unit)
    return best, best_norm, reached
