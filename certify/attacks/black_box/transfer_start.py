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
from ..search.radius import RadiusTask, random_points
from ..search.state import Found, SearchState
from .boundary import run_boundary
from .label_only import run_rays
from .square import SquareConfig, run_square

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

WIDER = (2.0, 4.0)
"""Larger radii, in units of epsilon, in which the source's images are starts by labels."""


@dataclass(frozen=True, slots=True)
class TransferStartConfig:
    """How the source is attacked and the model is searched.

    Attributes:
        steps: gradient steps on the source within epsilon; a quarter as many within each larger
            radius, from where the last ascent ended.
        queries: forward passes of the model per image.
        early_stopping: stop the search by scores on an image that it cannot reach, see
            :class:`~robcert.certify.attacks.black_box.square.SquareConfig`.
        restart: number of the run. The ascents of the first start at the clean image, those of
            others at a random point of the ball.
    """

    steps: int = 20
    queries: int = 300
    early_stopping: bool = False
    restart: int = 0


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
    refers to the ball.
    """
    state = SearchState(classifier, batch, ball.norm, seed)
    task, half = RadiusTask.of_ball(state, ball), config.queries // 2
    start = torch.zeros_like(batch.x)
    if config.restart:
        start[task.rows] = random_points(state, task, f"transfer-start/{config.restart}")(task.rows)
    start = _source_ascent(state, task, source, config.steps, start)
    for factor in WIDER:
        wide = replace(task.surviving(state), epsilon=factor * task.epsilon)
        _source_ascent(state, wide, source, max(1, config.steps // 4), factor * start)
    # large squares would overwrite the start
    run_square(
        state,
        task.surviving(state),
        SquareConfig(half, first_share=0.1, early_stopping=config.early_stopping),
        initial_perturbation=start,
    )
    remaining = task.surviving(state)
    if ball.norm is Norm.LINF:
        known = torch.where(
            state.distance.isfinite().view(-1, 1, 1, 1), state.x_adv - state.batch.x, start
        )
        signs = torch.where(known < 0, -1.0, 1.0).to(batch.x)
        run_rays(state, remaining, queries=half, first_directions=signs)
    else:
        run_boundary(state, remaining.rows, queries=half)
    return replace(state.result(), found=state.within(task.epsilon))


def _source_ascent(
    state: SearchState, task: RadiusTask, source: Classifier, steps: int, start: Tensor
) -> Tensor:
    """Perturbations ``(b, c, h, w)`` of the largest margin on the source, verified by the state.

    The ascents begin at ``start (b, c, h, w)``.
    """
    found = torch.zeros_like(state.batch.x)
    for rows in torch.split(task.rows, state.active_batch_size):
        if len(rows):
            x = state.x(rows)
            found[rows] = maximise(
                partial(_source_margin, source, x, state.y(rows)),
                x,
                Ball(state.norm, task.epsilon[rows]),
                AscentConfig(steps, default_rule(state.norm, steps)),
                initial_perturbation=start[rows],
            ).best_delta
            state.n_backward[rows] += steps
            state.n_forward[rows] += steps + 1
            point = x + found[rows]
            logits = state.logits(rows, point)
            state.verify_candidates(rows, point, logits, task.epsilon[rows])
    return found


def _source_margin(source: Classifier, x: Tensor, y: Tensor, delta: Tensor) -> Tensor:
    return Loss.MARGIN.of(source.twin_logits(x + delta), y)
