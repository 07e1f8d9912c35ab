r"""LogBarrier (Finlay, Pooladian, Oberman 2019, arXiv:1903.10396), l2 and linf.

From a misclassified start, descent of :math:`\|x - x_0\| - \alpha \log(p_{max} - p_y)`: the barrier
keeps the iterate misclassified, and :math:`\alpha` is multiplied by 0.75 in every outer loop. linf
is replaced by a norm of high order, whose gradient moves more than one pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import Loss, feasible, normalised, per_row, steepest

from ..search.adversarial_starts import adversarial_starts
from ..search.boundary_tangents import margins_and_gradients, nearest_class_boundary
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

_OUTER, _SHRINK = 15, 0.75
_ORDER_GROWTH = 1.4  # the order ends near 1000
_STEP = 0.1  # length of the first step, as a share of the distance
_NEARER = 0.97  # a boundary nearer than this share of the distance found gets another descent
_BEYOND = (1.05, 1.5, 2.0, 3.0)  # multiples of its distance at which a start is searched for


def log_barrier(
    classifier: Classifier, batch: Batch, *, norm: Norm, steps: int = 450, seed: int = 0
) -> Found:
    """Nearest adversarial images; ``steps`` in fifteen outer loops from each start."""
    state = SearchState(classifier, batch, norm, seed)
    run_log_barrier(state, state.correct, steps=steps)
    return state.result()


def run_log_barrier(state: SearchState, rows: Tensor, *, steps: int, targets: int = 9) -> None:
    """LogBarrier on a search state, from the nearest image that is known, else from noise.

    ``steps`` gradients from each start. A descent ends at the nearest point of one class only, so
    where no adversarial image was known there are several starts, each of another class. One more
    start lies beyond the nearest class boundary if that is nearer than what was found: nearest by
    the tangents at the clean image, among the ``targets`` classes with the largest clean logits.
    """
    inner_steps = max(1, steps // _OUTER)
    for some, images in adversarial_starts(state, rows):
        state.shrink_and_verify(some, _descend(state, some, images, inner_steps))
    some, images = _beyond_nearest_boundary(state, rows, targets)
    state.shrink_and_verify(some, _descend(state, some, images, inner_steps))


def _beyond_nearest_boundary(
    state: SearchState, rows: Tensor, targets: int
) -> tuple[Tensor, Tensor]:
    """Rows that missed the nearest boundary; misclassified images beyond it ``(r, c, h, w)``."""
    nearest, distance = nearest_class_boundary(state, rows, targets)
    rows = rows[distance[rows] < _NEARER * state.distance[rows]]
    _, gradients = margins_and_gradients(state, rows, state.x(rows), nearest[rows, None])
    step = steepest(state.norm, gradients[:, 0])
    step = step * per_row(distance[rows].to(step), step)
    images, found = state.x(rows), torch.zeros_like(rows, dtype=torch.bool)
    for factor in _BEYOND:
        remaining = (~found).nonzero().flatten()
        points = (state.x(rows[remaining]) + factor * step[remaining]).clamp(0, 1)
        hit = adversarial(state.twin_logits(rows[remaining], points), state.y(rows[remaining]))
        images[remaining[hit]], found[remaining[hit]] = points[hit], True
    return rows[found], images[found]


def _descend(state: SearchState, rows: Tensor, iterate: Tensor, inner_steps: int) -> Tensor:
    """Nearest misclassified iterates ``(r, c, h, w)``; ``inner_steps`` in each outer loop.

    A step that would leave the misclassified region is not taken, and the next one is half as long;
    a step that is taken is followed by one a tenth longer. The paper's fixed step of 0.01 suits
    images of one scale; here the step is a share of the distance.
    """
    if not len(rows):
        return iterate
    x, alpha, order = state.x(rows), 0.1, 10.0
    best, size = iterate.clone(), torch.full((len(rows),), _STEP, device=x.device)
    proposed, slope, margin = iterate, torch.zeros_like(iterate), torch.zeros_like(size)
    for step in range(_OUTER * inner_steps):
        logits, gradient = state.gradient(
            rows, proposed, lambda logits, at: Loss.PROBABILITY_MARGIN.of(logits, state.y(at))
        )
        inside, value = adversarial(logits, state.y(rows)), _probability_margin(state, logits, rows)
        new = inside | (step == 0)
        iterate, slope = (
            torch.where(_wide(new), *pair) for pair in ((proposed, iterate), (gradient, slope))
        )
        margin = torch.where(new, value.nan_to_num(0.0), margin)  # NaN where no class is named
        nearer = inside & (state.norm.of(iterate - x) < state.norm.of(best - x))
        best = torch.where(_wide(nearer), iterate, best)
        size = torch.where(inside, size * 1.1, size / 2).clamp(1e-5, _STEP)
        barrier = slope * per_row(alpha / margin.clamp_min(1e-6), slope)
        # scaled: the barrier's weight is in units of the distance
        pull = barrier * per_row(state.norm.of(iterate - x), barrier) - _inward(
            state.norm, iterate - x, order
        )
        unit = normalised(feasible(pull, iterate))
        length = per_row(size * Norm.L2.of(iterate - x), unit)
        proposed = (iterate + unit * length).clamp(0, 1)
        if (step + 1) % inner_steps == 0:
            alpha, order = alpha * _SHRINK, order * _ORDER_GROWTH
    return best


def _probability_margin(state: SearchState, logits: Tensor, rows: Tensor) -> Tensor:
    return Loss.PROBABILITY_MARGIN.of(logits, state.y(rows))


def _wide(rows: Tensor) -> Tensor:
    return rows.view(-1, 1, 1, 1)


def _inward(norm: Norm, delta: Tensor, order: float) -> Tensor:
    """Gradient of the distance: of the l2 norm, or for linf of the norm of order ``order``."""
    if norm is Norm.L2:
        return normalised(delta)
    scaled = delta / per_row(Norm.LINF.of(delta).clamp_min(1e-12), delta)
    # the last bit of torch's float32 power depends on the entry's place in the batch
    steep = scaled.abs().double().pow(order - 1).to(delta)
    return normalised(steep * delta.sign())
