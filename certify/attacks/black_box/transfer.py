"""Transfer: adversarial images of another model, tried on this one (Papernot et al. 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball
from robcert.certify.errors import DataError, TwinUnavailableError
from robcert.certify.numerics import AscentConfig, maximise

from ..gradient.pgd import PgdConfig
from ..search.radius import RadiusTask, random_points
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier


def transfer(
    source: Classifier,
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    *,
    steps: int = 20,
    seed: int = 0,
) -> Found:
    """Images that PGD on ``source`` finds in the ball and that ``classifier`` misclassifies too.

    Raises:
        DataError: the source takes images of another size or has other classes.
        TwinUnavailableError: the source has no gradients.
    """
    require_source(source, classifier)
    state = SearchState(classifier, batch, ball.norm, seed)
    run_transfer(state, RadiusTask.of_ball(state, ball), source, PgdConfig(steps))
    return state.result()


def require_source(source: Classifier, target: Classifier) -> None:
    """Raise unless images of ``target`` can be attacked on ``source``.

    Raises:
        DataError: the source takes images of another size or has other classes.
        TwinUnavailableError: the source has no gradients.
    """
    require_same_task(source, target)
    if not source.differentiable:
        message = f"the source {source.info.file} has no gradients: {source.info.twin_unavailable}"
        raise TwinUnavailableError(message)


def require_same_task(source: Classifier, target: Classifier) -> None:
    """Raise unless both models take images of the same size and have equally many classes.

    Raises:
        DataError: they do not.
    """
    its, wanted = _task(source), _task(target)
    if its != wanted:
        message = (
            f"the source {source.info.file} takes other images or classes than the model: "
            f"{its}, not {wanted}"
        )
        raise DataError(message)


def run_transfer(
    state: SearchState, task: RadiusTask, source: Classifier, config: PgdConfig
) -> Tensor:
    """Which images mislead the source ``(b,)``, by its own runtime; False for rows not attacked.

    Transfer on a search state: all steps are taken on the source, then its best image is tried on
    the model. One ascent from a random start; restarts and early stopping of ``config`` are not
    used.
    """
    misled = torch.zeros(len(state.batch), dtype=torch.bool, device=task.rows.device)
    for rows in torch.split(task.rows, state.active_batch_size):
        if len(rows):
            point = _source_ascent(state, task.on(rows), source, config)
            radius = task.epsilon[rows]
            if state.grid is not None:
                point = state.grid.within(point, state.x(rows), state.norm, radius)
            misled[rows] = adversarial(source.logits(point), state.y(rows))
            state.verify_candidates(rows, point, state.logits(rows, point), radius)
    return misled


def _task(model: Classifier) -> str:
    size = " × ".join(str(side) for side in model.image_shape)
    return f"{size} pixels to {model.num_classes} classes"


def _source_ascent(
    state: SearchState, task: RadiusTask, source: Classifier, config: PgdConfig
) -> Tensor:
    """Images ``(r, c, h, w)`` of the largest loss on the source that ascent finds."""
    rows = task.rows
    x, y = state.x(rows), state.y(rows)
    ascent = maximise(
        lambda delta: config.loss.of(source.twin_logits(x + delta), y),
        x,
        Ball(state.norm, task.epsilon[rows]),
        AscentConfig(config.steps, config.rule_in(state.norm)),
        initial_perturbation=random_points(state, task, "transfer")(rows),
    )
    state.n_backward[rows] += config.steps
    state.n_forward[rows] += config.steps + 1
    return x + ascent.best_delta
