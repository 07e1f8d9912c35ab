"""Search that starts at another model's adversarial image (Cheng et al. 2019, arXiv:1906.06919).

Where scores or labels carry little information, a search without a start takes many queries; an
image that misleads another model of the same task is a better start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.numerics import AscentConfig, Loss, maximise

from ..gradient.pgd import default_rule
from ..search.radius import RadiusTask
from ..search.state import Found, SearchState
from .boundary import run_boundary
from .label_only import run_rays
from .square import run_square

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

FACTORS = (1.0, 2.0, 4.0)
"""Radii, in units of epsilon, within which the ascent on the source looks for a start."""


@dataclass(frozen=True, slots=True)
class TransferStartConfig:
    """How the source is attacked and the model is searched.

    Attributes:
        steps: gradient steps on the source within each radius.
        queries: forward passes of the model per image.
    """

    steps: int = 20
    queries: int = 300


DEFAULT = TransferStartConfig()
"""20 steps on the source, 300 queries of the model."""


def transfer_start(
    source: Classifier,
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    config: TransferStartConfig = DEFAULT,
    *,
    seed: int = 0,
) -> Found:
    """Adversarial images by searches that start at images that mislead ``source``.

    The image of the source itself is tried first. Half of the queries go to a search by scores from
    it, and half to a search by labels from the source's images within up to four radii. ``found``
    refers to the ball. The ascent on the source starts at the clean image, so it is not random.
    """
    state = SearchState(classifier, batch, ball.norm, seed)
    task, half = RadiusTask.of_ball(state, ball), config.queries // 2
    start = torch.zeros_like(batch.x)
    for factor in reversed(FACTORS):
        wide = replace(task.surviving(state), epsilon=factor * task.epsilon)
        start = _source_ascent(state, wide, source, config.steps)
    # large squares would overwrite the start
    run_square(
        state, task.surviving(state), queries=half, first_share=0.1, initial_perturbation=start
    )
    todo = task.surviving(state)
    if ball.norm is Norm.LINF:
        known = torch.where(
            state.distance.isfinite().view(-1, 1, 1, 1), state.x_adv - state.batch.x, start
        )
        signs = torch.where(known < 0, -1.0, 1.0).to(batch.x)
        run_rays(state, todo, queries=half, first_directions=signs)
    else:
        run_boundary(state, todo.rows, queries=half)
    return replace(state.result(), found=state.within(task.epsilon))


def _source_ascent(state: SearchState, task: RadiusTask, source: Classifier, steps: int) -> Tensor:
    """Perturbations ``(b, c, h, w)`` of the largest margin on the source, verified by the state."""
    found = torch.zeros_like(state.batch.x)
    for rows in torch.split(task.rows, state.active_batch_size):
        if len(rows):
            x = state.x(rows)
            found[rows] = maximise(
                partial(_source_margin, source, x, state.y(rows)),
                x,
                Ball(state.norm, task.epsilon[rows]),
                AscentConfig(steps, default_rule(state.norm, steps)),
            ).best_delta
            state.n_backward[rows] += steps
            state.n_forward[rows] += steps + 1
            point = x + found[rows]
            logits = state.logits(rows, point)
            state.verify_candidates(rows, point, logits, task.epsilon[rows])
    return found


def _source_margin(source: Classifier, x: Tensor, y: Tensor, delta: Tensor) -> Tensor:
    return Loss.MARGIN.of(source.twin_logits(x + delta), y)
