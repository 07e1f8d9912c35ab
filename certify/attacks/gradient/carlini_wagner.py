r"""Carlini & Wagner 2017 (arXiv:1608.04644), sections V and VI: l2 and linf.

l2: :math:`\min_w \|x(w) - x_0\|_2^2 + c \max(-m(x(w)), 0)` with :math:`x(w) = (\tanh w + 1)/2` and
m the logit margin, by Adam, with a bisection of c.

linf: :math:`\min_x \sum_i \max(|x_i - x_{0,i}| - \tau, 0) + c \max(-m(x), 0)`, clipped to the box
after each step (section V.B): through tanh, black and white pixels hardly move by steps that suit
others, and in linf they count as much. After a success :math:`\tau` becomes 0.9 times the largest
change of a pixel; after a failure c is doubled. The paper stops at the first :math:`\tau` that
fails; here :math:`\tau` is bisected between it and the last that succeeded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import Direction, StepRule, classes_of, per_row

from ..search.boundary_tangents import nearest_class_boundary, target_margin
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.model import Classifier

_SHRINK = 0.9  # of tau after a success
_BISECTIONS = 4  # of the tenth between two values of tau: 0.7 % are left
_TIGHT = 0.993  # tau is not bisected further
_INSIDE = 0.999  # with the usual 1 - 1e-6 black and white pixels hardly ever move
_LARGEST = 1e10
_LEAST = 1e-5
_STRIDES = 4  # longest first step of Adam, in distances of the nearest class boundary


@dataclass(frozen=True, slots=True)
class CarliniWagnerConfig:
    """How the attack is run.

    Attributes:
        steps: Adam steps for each c, in linf for each tau.
        searches: number of values of c; in linf most values of tau before the bisection.
        step_size: largest first step of Adam in w, in linf in x; divided by 5 after half of the
            steps, and again after three quarters.
        first_weight: first value of c in l2. In linf it is half the inverse of the largest slope of
            the margin along a pixel: from the inverse on, a pixel beyond tau may pay.
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
    classifier: Classifier,
    batch: Batch,
    config: CarliniWagnerConfig = DEFAULT,
    *,
    norm: Norm = Norm.L2,
) -> Found:
    """Nearest adversarial images in l2 or linf."""
    state = SearchState(classifier, batch, norm)
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
    if state.norm is Norm.L2:
        search, longest = _search, 2 * _STRIDES * distance / math.sqrt(state.batch.x[0].numel())
    else:
        search, longest = _search_linf, distance / _STRIDES
    sizes = longest.clamp(_LEAST, config.step_size).float()
    reached = search(state, rows, None, sizes, config)
    missed = rows[nearest[rows] != reached]
    search(state, missed, nearest, sizes, config)


def _search_linf(
    state: SearchState,
    rows: Tensor,
    target: Tensor | None,
    sizes: Tensor,
    config: CarliniWagnerConfig,
) -> Tensor:
    """As :func:`_search`, by descending values of tau."""
    weight = _first_weight(state, rows, target)
    low = torch.zeros(len(rows), device=rows.device)
    high = torch.full_like(low, torch.inf)
    best, reached, tau = state.x(rows).clone(), torch.full_like(rows, -1), torch.ones_like(low)
    for _ in range(config.searches + _BISECTIONS):
        going = (low < _TIGHT * high).nonzero().flatten()
        if not len(going):
            break
        some, bound = rows[going], tau[going]
        objective = _Objective(target, weight[going], partial(_beyond, bound))
        found, size, found_class = _descend(state, some, objective, config.steps, sizes[some])
        nearer, failed = size < high[going], size > bound
        best[going[nearer]], reached[going[nearer]] = found[nearer], found_class[nearer]
        high[going[nearer]] = size[nearer]
        weight[going[failed]] *= 2
        failed &= high[going].isfinite()
        low[going[failed]] = bound[failed]
        tau = torch.where(low > 0, (low + high) / 2, _SHRINK * high).clamp_max(1)
    state.shrink_and_verify(rows[high.isfinite()], best[high.isfinite()])
    return reached


def _first_weight(state: SearchState, rows: Tensor, target: Tensor | None) -> Tensor:
    _, gradient = state.gradient(
        rows, state.x(rows), lambda logits, at: target_margin(state, logits, at, target)
    )
    return 0.5 / Norm.LINF.of(gradient).clamp_min(1 / _LARGEST)


def _beyond(tau: Tensor, delta: Tensor) -> Tensor:
    """Gradient of the sum of what the pixels of ``delta`` change by more than ``tau``."""
    return delta.sign() * (delta.abs() > per_row(tau, delta))


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
        objective = _Objective(target, weight, lambda delta: 2 * delta)
        found, found_norm, found_class = _descend(state, rows, objective, config.steps, sizes[rows])
        better = found_norm < best_norm
        best[better], best_norm[better] = found[better], found_norm[better]
        reached[better] = found_class[better]
        hit = found_norm.isfinite()
        low, high = torch.where(hit, low, weight), torch.where(hit, weight, high)
        weight = torch.where(high < _LARGEST, (low + high) / 2, weight * 10)
    state.shrink_and_verify(rows[best_norm.isfinite()], best[best_norm.isfinite()])
    return reached


@dataclass(frozen=True, slots=True)
class _Objective:
    """What is minimised: the size of the perturbation plus ``weight`` times minus the margin.

    Attributes:
        target: classes ``(b,)`` of the margin; None: the largest other class.
        weight: c of each image ``(r,)``.
        pull: gradient of the size at perturbations ``(r, c, h, w)``.
    """

    target: Tensor | None
    weight: Tensor
    pull: Callable[[Tensor], Tensor]


def _descend(
    state: SearchState, rows: Tensor, objective: _Objective, steps: int, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest misclassified iterates, their distances (inf for none) and their classes."""
    x, y = state.x(rows), state.y(rows)
    drops = ((steps // 2, 0.2), (3 * steps // 4, 0.2))
    rule = StepRule(Direction.ADAM, 1.0, relative=True, drops=drops, smoothing=1e-8)
    # in float32 the last bit depends on the entry's place in the batch; float64 is rounded after
    bent = state.norm is Norm.L2
    w = ((2 * x - 1) * _INSIDE).double().atanh().to(x) if bent else x
    moments = rule.moments(w)
    best, best_norm = x.clone(), torch.full((len(rows),), torch.inf, device=x.device)
    reached = torch.full_like(rows, -1)
    for t in range(1, steps + 1):
        point = (w.tanh() + 1) / 2 if bent else w
        logits, gradient = state.gradient(
            rows,
            point,
            lambda logits, at: target_margin(state, logits, at, objective.target).clamp_max(0),
        )
        size = state.norm.of(point - x)
        better = adversarial(logits, y) & (size < best_norm)
        best[better], best_norm[better] = point[better], size[better]
        reached[better] = classes_of(logits)[better]
        # ascent of minus the objective, by the chain rule through tanh
        drive = per_row(objective.weight, x) * gradient - objective.pull(point - x)
        uphill = drive * (1 - w.tanh().square()) / 2 if bent else drive
        at = torch.full_like(objective.weight, t)
        unit, moments = rule.unit(uphill, at, moments)
        w = w + unit * per_row(rule.sizes(at, sizes), unit)
        w = w if bent else w.clamp(0, 1)
    return best, best_norm, reached
