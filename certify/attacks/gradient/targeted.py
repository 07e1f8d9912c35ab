"""Gradient ascent towards target classes, at a given radius.

The Random-Targeted and Multi-Targeted attacks on logit differences (Qin et al. 2019,
arXiv:1907.02610, Table 1 and supplement F.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import InvalidParameterError
from robcert.certify.numerics import Loss, classes_of, generator, targeted_margin

from ..search.ascent import AscentPlan, run_ascents
from ..search.early_stopping import early_stopping_of, unit_slope
from ..search.radius import RadiusTask, random_points
from ..search.state import Found, SearchState
from .pgd import DEFAULT, PgdConfig

if TYPE_CHECKING:
    from robcert.certify.core import Ball, Batch
    from robcert.certify.model import Classifier


def multi_targeted(
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    config: PgdConfig = DEFAULT,
    *,
    targets: int | None = None,
    seed: int = 0,
) -> Found:
    """Adversarial images that PGD finds in the ball towards each other class in turn.

    Args:
        classifier: the model.
        batch: images.
        ball: where to search.
        config: steps and restarts; its loss must be the margin.
        targets: number of target classes, those with the largest clean logits; None: all.
        seed: seed of the random starts.

    Raises:
        InvalidParameterError: the loss is not the margin.
    """
    if config.loss is not Loss.MARGIN:
        message = f"targeted attacks maximise the margin of the target class, not {config.loss}"
        raise InvalidParameterError(message)
    state = SearchState(classifier, batch, ball.norm, seed)
    run_multi_targeted(state, RadiusTask.of_ball(state, ball), config, targets=targets)
    return state.result()


def run_multi_targeted(
    state: SearchState, task: RadiusTask, config: PgdConfig, *, targets: int | None = None
) -> None:
    """Multi-Targeted on a search state, on the margins of the target classes."""
    ranked = state.ranked_classes(task.rows, targets)
    for restart in range(config.restarts):
        for rank in range(ranked.shape[1]):
            stream = _stream(f"multi-targeted/{rank + 1}", restart)
            run_towards(state, task.surviving(state), ranked[:, rank], config, stream=stream)


def run_towards(
    state: SearchState, task: RadiusTask, target: Tensor, config: PgdConfig, *, stream: str
) -> None:
    """One ascent of the margin of the classes ``target (b,)`` over y, on a search state.

    Loss and restarts of ``config`` are not used.
    """

    def margin(logits: Tensor, at: Tensor) -> Tensor:
        return targeted_margin(logits, state.y(at), target[at])

    plan = AscentPlan(
        margin,
        config.steps,
        config.rule_in(state.norm),
        random_points(state, task, stream) if config.random_start else None,
        early_stopping_of(
            state,
            task.epsilon,
            config.steps,
            lambda logits, at: unit_slope(margin(logits, at)),
            early_stopping=config.early_stopping,
        ),
    )
    run_ascents(state, task, plan)


def run_random_targeted(
    state: SearchState, task: RadiusTask, config: PgdConfig, *, until_reached: bool = False
) -> None:
    """PGD towards one other class per image, chosen at random; any misclassification is a success.

    With ``until_reached`` only the chosen class is a success, as the paper counts, also on images
    that are misclassified anyway; one that is of the chosen class itself needs no attack. The
    nearest adversarial image of any other class is kept nevertheless.
    """
    target = state.batch.y.clone()
    for row in (state.all_rows if until_reached else task.rows).tolist():
        stream = generator(state.seed, "attack/random-target", int(state.batch.index[row]))
        shift = torch.randint(1, state.classifier.num_classes, (), generator=stream)
        target[row] = (target[row] + int(shift)) % state.classifier.num_classes
    if until_reached:
        state.target = target
        state.target_distance[classes_of(state.clean) == target] = 0.0
    for restart in range(config.restarts):
        if until_reached:
            remaining = task.on(task.rows[state.target_distance[task.rows].isinf()])
        else:
            remaining = task.surviving(state) if restart else task
        run_towards(state, remaining, target, config, stream=_stream("random-targeted", restart))
    state.target = None


def _stream(name: str, restart: int) -> str:
    return f"{name}/{restart}" if restart else name
