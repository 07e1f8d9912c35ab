"""Search that begins at another model's adversarial image (Cheng et al. 2019, arXiv:1906.06919).

Where scores or labels say little, a search from nowhere is long; what misleads another model of
the same task is a better place to begin.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import Loss, maximise

from ..gradient.pgd import default_rule
from ..search.radius import radii, standing
from ..search.state import Found, SearchState
from .boundary import run_boundary
from .label_only import run_rays
from .square import run_square

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

FACTORS = (1.0, 2.0, 4.0)
"""Radii, in units of epsilon, at which the source is climbed for a start."""


def transfer_start(
    source: Classifier,
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    steps: int = 20,
    queries: int = 300,
    seed: int = 0,
) -> Found:
    """What searches within ``epsilon`` find that begin where ``source`` is misled.

    First the source's image itself is tried, then half of ``queries`` go into score search from it,
    and half into search by labels from the source's images at up to four radii. ``found`` speaks of
    the radius (pixel units, one number or one an image). The ascent on the source begins at the
    image, so the start is not random.
    """
    state = SearchState(classifier, batch, norm, seed)
    radius = radii(state, epsilon)
    start = torch.zeros_like(batch.x)
    for factor in reversed(FACTORS):
        rows = standing(state, state.correct, radius)
        start = _climbed(state, rows, factor * radius, source, steps)
    todo = standing(state, state.correct, radius)
    # large squares would wipe the start out
    run_square(state, todo, radius, queries=queries // 2, first_share=0.1, start=start)
    todo = standing(state, state.correct, radius)
    if norm is Norm.LINF:
        known = torch.where(
            state.distance.isfinite().view(-1, 1, 1, 1), state.x_adv - batch.x, start
        )
        signs = torch.where(known < 0, -1.0, 1.0).to(batch.x)
        run_rays(state, todo, radius, queries=queries // 2, first=signs)
    else:
        run_boundary(state, todo, queries=queries // 2)
    return replace(state.result(), found=state.within(radius))


def _climbed(
    state: SearchState, rows: Tensor, epsilon: Tensor, source: Classifier, steps: int
) -> Tensor:
    """Perturbations ``(b, c, h, w)`` that mislead the source most; what misleads both is kept."""
    found = torch.zeros_like(state.batch.x)
    for some in torch.split(rows, state.active_batch_size):
        if len(some):
            x = state.x(some)
            found[some] = maximise(
                partial(_misled, source, x, state.y(some)),
                x,
                norm=state.norm,
                epsilon=epsilon[some],
                steps=steps,
                rule=default_rule(state.norm, steps),
                box=True,
            ).best_delta
            state.n_backward[some] += steps
            state.n_forward[some] += steps + 1
            state.verify_candidates(some, x + found[some], state.logits(some, x + found[some]))
    return found


def _misled(source: Classifier, x: Tensor, y: Tensor, delta: Tensor) -> Tensor:
    return Loss.MARGIN.of(source.twin_logits(x + delta), y)
