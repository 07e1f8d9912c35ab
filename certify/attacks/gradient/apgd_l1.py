"""Auto-PGD in l1 (Croce & Hein 2021, arXiv:2103.01208): sparse steps whose sparsity sets itself.

A step goes along the signs of the k largest entries of the gradient that the pixel box leaves free,
divided by k, and is projected exactly onto ball and box. Now and then k becomes the number of
pixels changed at the best point so far over 1.5; the step is halved (over 1.5) where that number no
longer falls, else it is the radius again. The search comes from outside: three tenths of the steps
at three times the radius, as many at twice, the rest at the radius itself (their section 3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import feasible, per_row, project, random_start

if TYPE_CHECKING:
    from ..search.state import Score, SearchState

_STAGES = ((3.0, 0.3), (2.0, 0.3))  # (radii, share of the steps) before the radius itself
_FIRST_SHARE = 0.2  # of the pixels, changed by the first steps
_PERIOD = 0.04  # of the steps, between two looks at the sparsity
_LESS = 1.5
_FALLS = 0.95
_LEAST_STEP = 0.1  # of the radius


def ascend_sparsely(
    state: SearchState,
    rows: Tensor,
    score: Score,
    epsilon: Tensor,
    steps: int,
    name: str,
    block: int,
) -> None:
    """One ascent of ``score`` for each of ``rows`` together; ``epsilon (r,)`` are their radii."""
    x = state.x(rows)
    indices = state.batch.index[rows.cpu().numpy()]
    wide = _STAGES[0][0] * epsilon
    delta = random_start(
        indices, x, norm=Norm.L1, epsilon=wide, seed=state.seed, stream=name, block=block
    )
    left, changed = steps, torch.full_like(epsilon, _FIRST_SHARE * x[0].numel())
    for factor, share in _STAGES:
        ascents = _SparseAscents(rows, delta, factor * epsilon, changed, x)
        for step in range(int(share * steps)):
            logits, gradient = state.gradient(rows, x + ascents.delta, score)
            ascents.step(score(logits, rows), gradient, x, look=_looks(step, steps))
        left -= int(share * steps)
        delta, changed = ascents.best_delta, _count(ascents.best_delta) / _LESS
    _within(state, _SparseAscents(rows, delta, epsilon, changed, x), score, left, steps)


def _within(
    state: SearchState, ascents: _SparseAscents, score: Score, left: int, steps: int
) -> None:
    """The last stage: what the runtime confirms leaves."""
    for step in range(left):
        point = state.x(ascents.rows) + ascents.delta
        logits, gradient = state.gradient(ascents.rows, point, score)
        going = ~state.verify_candidates(ascents.rows, point, logits)
        ascents.keep(going)
        if not len(ascents.rows):
            return
        value, x = score(logits[going], ascents.rows), state.x(ascents.rows)
        ascents.step(value, gradient[going], x, look=_looks(step, steps))
    point = state.x(ascents.rows) + ascents.delta
    state.verify_candidates(ascents.rows, point, state.twin_logits(ascents.rows, point))


def _looks(step: int, steps: int) -> bool:
    return (step + 1) % max(1, int(_PERIOD * steps)) == 0


class _SparseAscents:
    """Ascents under way; rows that are done are dropped from all tensors at once."""

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

    def step(self, value: Tensor, gradient: Tensor, x: Tensor, *, look: bool) -> None:
        """Take in value and gradient at ``delta``, and move."""
        better = value.nan_to_num(nan=-torch.inf) > self.best
        self.best = torch.where(better, value, self.best)
        self.best_delta = torch.where(_wide(better), self.delta, self.best_delta)
        self.best_gradient = torch.where(_wide(better), gradient, self.best_gradient)
        if look:
            gradient = self._judge(gradient)
        uphill = _sparse_signs(feasible(gradient, x + self.delta), self.width)
        moved = self.delta + uphill * per_row(self.size, uphill)
        self.delta = project(moved, Norm.L1, self.epsilon, x=x)

    def _judge(self, gradient: Tensor) -> Tensor:
        """Set sparsity and step; the gradient where to go on from."""
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
    """Pixels that ``delta (b, ...)`` changes ``(b,)``."""
    return (delta.flatten(1) != 0).sum(1).to(delta.dtype)


def _wide(rows: Tensor) -> Tensor:
    return rows.view(-1, 1, 1, 1)
