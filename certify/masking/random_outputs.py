"""Gradient attacks on a model whose outputs differ between calls.

They take all their steps: an image at which the answer has just changed lies on the boundary, where
about half of the draws are wrong, however strong the attack. Fresh draws judge the last image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from robcert.certify.attacks import Found, default_rule
from robcert.certify.numerics import (
    AscentConfig,
    Loss,
    RandomStart,
    classes_of,
    maximise,
    targeted_margin,
)

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.attacks import PgdConfig
    from robcert.certify.core import Ball, Batch
    from robcert.certify.model import Classifier


def one_step(classifier: Classifier, batch: Batch, ball: Ball) -> Found:
    """The image after one step of steepest ascent on cross-entropy to the sphere."""
    ascent = maximise(
        lambda delta: Loss.CE.of(classifier.twin_logits(batch.x + delta), batch.y),
        batch.x,
        ball,
        AscentConfig(1, default_rule(ball.norm, 1)),
    )
    return _at(classifier, batch, ball, batch.x + ascent.last_delta)


def ascents(
    classifier: Classifier, batch: Batch, ball: Ball, config: PgdConfig, *, seed: int = 0
) -> Found:
    """Last image of the ascent, of several from random points, whose last loss is largest."""
    loss, how = config.loss, AscentConfig(config.steps, config.rule_in(ball.norm))
    best, value = batch.x, torch.full_like(batch.x[:, 0, 0, 0], -torch.inf)
    for restart in range(config.restarts):
        start = RandomStart(seed, f"masking/ascent/{restart}").draw(batch.index, batch.x, ball)
        ascent = maximise(
            lambda delta: loss.of(classifier.twin_logits(batch.x + delta), batch.y),
            batch.x,
            ball,
            how,
            initial_perturbation=start,
        )
        best, value = _larger(best, value, batch.x + ascent.last_delta, ascent.last_value)
    return _at(classifier, batch, ball, best)


def ascents_towards_classes(
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    config: PgdConfig,
    *,
    targets: int,
    seed: int = 0,
) -> Found:
    """Last image of the ascent, towards the ``targets`` best other classes, of largest margin.

    Loss and restarts of ``config`` are not used.
    """
    how = AscentConfig(config.steps, config.rule_in(ball.norm))
    others = classifier.logits(batch.x).scatter(1, batch.y[:, None], -torch.inf)
    ranked = others.topk(min(targets, classifier.num_classes - 1), dim=1).indices
    best, value = batch.x, torch.full_like(batch.x[:, 0, 0, 0], -torch.inf)
    for rank in range(ranked.shape[1]):
        target, stream = ranked[:, rank], f"masking/ascent-towards/{rank + 1}"

        def margin(delta: Tensor, target: Tensor = target) -> Tensor:
            return targeted_margin(classifier.twin_logits(batch.x + delta), batch.y, target)

        start = RandomStart(seed, stream).draw(batch.index, batch.x, ball)
        ascent = maximise(margin, batch.x, ball, how, initial_perturbation=start)
        best, value = _larger(best, value, batch.x + ascent.last_delta, ascent.last_value)
    return _at(classifier, batch, ball, best)


def _larger(x: Tensor, value: Tensor, other: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    better = others > value
    return torch.where(better.view(-1, 1, 1, 1), other, x), torch.where(better, others, value)


def _at(classifier: Classifier, batch: Batch, ball: Ball, x: Tensor) -> Found:
    """The images ``x`` as results of an attack, classified by the mean of several draws."""
    x = x.clamp(0, 1)
    predicted = classes_of(classifier.logits(x))
    none = torch.zeros_like(batch.y)
    return Found(
        x_adv=x,
        found=predicted != batch.y,
        distance=ball.norm.of((x - batch.x).double()),
        prediction=predicted,
        n_forward=none,
        n_backward=none,
        n_lost=none,
    )
