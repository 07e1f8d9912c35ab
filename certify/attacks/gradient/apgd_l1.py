"""Auto-PGD in l1 (Croce & Hein 2021, arXiv:2103.01208): sparse steps of adaptive sparsity.

A step goes along the signs of the k largest feasible entries of the gradient, divided by k, and is
projected exactly onto the intersection of ball and box. At fixed intervals k is set to the number
of pixels changed at the best point so far, divided by 1.5; where that number no longer falls the
step is divided by 1.5, else it is reset to the radius. The search starts outside the ball: three
tenths of the steps are taken at three times the radius, as many at twice the radius, the rest at
the radius itself (their section 3.3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import feasible, per_row, project

from ..search.radius import random_points

if TYPE_CHECKING:
    from ..search.radius import RadiusTask
    from ..search.state import Score, SearchState

_STAGES = ((3.0, 0.3), (2.0, 0.3))  # (radii, share of the steps) before the radius itself
_FIRST_SHARE = 0.2  # share of the pixels that the first steps change
_PERIOD = 0.04  # interval between two updates of the sparsity, as a share of the steps
_LESS = 1.5
_FALLS = 0.95
_LEAST_STEP = 0.1  # smallest step, as a share of the radius


def ascend_sparsely(
    state: SearchState, task: RadiusTask, score: Score, steps: int, stream: str
) -> None:
    """One ascent of ``score`` for each row of ``task``, all in one batch."""
    rows, epsilon = task.rows, task.epsilon[task.rows]
    x = state.x(rows)
    wide = replace(task, epsilon=_STAGES[0][0] * task.epsilon)
    delta = random_points(state, wide, stream)(rows)
    remaining, changed = steps, torch.full_like(epsilon, _FIRST_SHARE * x[0].numel())
    for factor, share in _STAGES:
        ascents = _SparseAscents(rows, delta, factor * epsilon, changed, x)
        for step in range(int(share * steps)):
            logits, gradient = state.gradient(rows, x + ascents.delta, score)
            ascents.step(score(logits, rows), gradient, x, judge=_judged(step, steps))
        remaining -= int(share * steps)
        delta, changed = ascents.best_delta, _count(ascents.best_delta) / _LESS
    _within(state, _SparseAscents(rows, delta, epsilon, changed, x), score, remaining, steps)


def _within(
    state: SearchState, ascents: _SparseAscents, score: Score, remaining: int, steps: int
) -> None:
    """The last stage, at the radius itself: images with a confirmed success are dropped."""
    for step in range(remaining):
        point = state.x(ascents.rows) + ascents.delta
        logits, gradient = state.gradient(ascents.rows, point, score)
        going = ~state.verify_candidates(ascents.rows, point, logits, ascents.epsilon)
        ascents.keep(going)
        if not len(ascents.rows):
            return
        value, x = score(logits[going], ascents.rows), state.x(ascents.rows)
        ascents.step(value, gradient[going], x, judge=_judged(step, steps))
    point = state.x(ascents.rows) + ascents.delta
    logits = state.twin_logits(ascents.rows, point)
    state.verify_candidates(ascents.rows, point, logits, ascents.epsilon)


def _judged(step: int, steps: int) -> bool:
    return (step + 1) % max(1, int(_PERIOD * steps)) == 0


class _SparseAscents:
    """Running ascents; finished rows are dropped from all tensors at once."""

    def __init__(
        self, rows: Tensor, delta: Tensor, epsilon: Tensor, changed: Tensor, x: Tensor
    ) -> None:
        self.rows, self.epsilon, self.size = rows, epsilon, epsilon
        self.delta = self.best_delta = project(delta, Norm.L1, epsilon, x=x)
        self.best_gradient = torch.zeros_like(delta)
        self.best = torch.full_like(epsilon, -torch.inf)
        self.width = changed.clamp_min(1)
        self.count_then = torch.full_like(epsilon, float(delta[0].numel()))

    def keep(self, going: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[going])

    def step(self, value: Tensor, gradient: Tensor, x: Tensor, *, judge: bool) -> None:
        """Record value and gradient at ``delta``, and take a step."""
        better = value.nan_to_num(nan=-torch.inf) > self.best
        self.best = torch.where(better, value, self.best)
        self.best_delta = torch.where(_wide(better), self.delta, self.best_delta)
        self.best_gradient = torch.where(_wide(better), gradient, self.best_gradient)
        if judge:
            gradient = self._judge(gradient)
        uphill = _sparse_signs(feasible(gradient, x + self.delta), self.width)
        moved = self.delta + uphill * per_row(self.size, uphill)
        self.delta = project(moved, Norm.L1, self.epsilon, x=x)

    def _judge(self, gradient: Tensor) -> Tensor:
        """Update sparsity and step; the gradient at the point to continue from."""
        count = _count(self.best_delta)
        falls = count < _FALLS * self.count_then
        smaller = torch.maximum(self.size / _LESS, _LEAST_STEP * self.epsilon)
        self.size = torch.where(falls, self.epsilon, smaller)
        self.width, self.count_then = (count / _LESS).clamp_min(1), count
        self.delta = torch.where(_wide(falls), self.best_delta, self.delta)
        return torch.where(_wide(falls), self.best_gradient, gradient)


def _sparse_signs(gradient: Tensor, width: Tensor) -> Tensor:
    """Signs of the ``width (b,)`` largest entries of ``gradient (b, ...)``, of l1 length 1."""
    size = gradient.flatten(1).abs()
    at = width.long().clamp(1, size.shape[1]) - 1
    least = size.sort(dim=1, descending=True).values.gather(1, at[:, None])
    signs = torch.where((size >= least) & (size > 0), gradient.flatten(1).sign(), 0.0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def _count(delta: Tensor) -> Tensor:
    """Numbers ``(b,)`` of pixels that ``delta (b, ...)`` changes."""
    return (delta.flatten(1) != 0).sum(1).to(delta.dtype)


def _wide(rows: Tensor) -> Tensor:
    return rows.view(-1, 1, 1, 1)
