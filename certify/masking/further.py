"""The attacks of one further round.

Along gradients of the model, of the scores inside the graph and of noisy copies; searches that
start at images of every source; searches by scores and labels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.attacks import (
    SquareConfig,
    TransferStartConfig,
    label_search,
    square,
    transfer_start,
)
from robcert.certify.numerics import Loss, stream_seed

from .shares import SETTLED
from .views import logits_inside_graph, noise_averaged_gradient, wrong_shares

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns

    from .attacks import AttackPlan, PlannedAttack


def further(plan: AttackPlan, number: int) -> Columns:
    """Columns of the ``number``-th round from 1, with random starts of its own."""
    seed = stream_seed(plan.seed, "masking/round", number) % 2**31
    again, attacks = replace(plan, seed=seed), _attacks(plan, number, seed)
    if plan.drawn is None:
        broken = again.in_turn(attacks).found
        judged = torch.full((len(broken), 2), torch.nan)
    else:
        best = _best_of(again, plan.drawn, attacks)
        judged = wrong_shares(plan.drawn, best, plan.batch.y, plan.settings.judging_draws)
        broken = judged.mean(1) > 0.5
    return {
        "broken": broken.to("cpu").numpy().astype(np.int8),
        "wrong_share": judged.to("cpu").double().numpy(),
    }


def _best_of(plan: AttackPlan, drawn: Classifier, attacks: list[PlannedAttack]) -> Tensor:
    """The image, clean or the end of an attack, with the most wrong draws ``(b, c, h, w)``.

    Each attack runs on the images on which fewer than nine tenths of the draws are wrong. The draws
    that choose an image must not judge it: the largest of several shares is large by chance.
    """

    def wrong(x: Tensor, y: Tensor) -> Tensor:
        return wrong_shares(drawn, x, y, plan.settings.judging_draws).mean(1)

    best = plan.batch.x.clone()
    shares = wrong(best, plan.batch.y)
    for attack in attacks:
        left = (shares < SETTLED).nonzero().flatten()
        if not len(left):
            break
        at = plan.on_rows(left)
        found = attack(at).x_adv
        share = wrong(found, at.batch.y)
        better = share > shares[left]
        best[left[better]], shares[left[better]] = found[better], share[better]
    return best


def _attacks(plan: AttackPlan, number: int, seed: int) -> list[PlannedAttack]:
    """The attacks of a round; the searches have half of the queries of the long search each."""
    settings, ball = plan.settings, plan.ball
    queries = settings.long_queries // 2
    if plan.drawn is not None:  # a query takes several forward passes
        queries = max(1, queries // settings.draws)
    inside = logits_inside_graph(plan.classifier)
    own = [] if inside is None else [inside]
    config = TransferStartConfig(settings.steps, queries, restart=number)
    attacks: list[PlannedAttack] = [
        lambda at, start=start: at.ascend(start, Loss.MARGIN)  # type: ignore[misc]
        for start in own
    ]
    attacks += [
        lambda at: at.ascend(at.classifier, Loss.MARGIN, restarts=settings.restarts),
        lambda at: at.ascend(
            noise_averaged_gradient(at.plain, settings, seed), Loss.MARGIN, early_stopping=True
        ),
    ]
    attacks += [
        lambda at, start=start: transfer_start(  # type: ignore[misc]
            start, at.classifier, at.batch, ball, config, seed=seed
        )
        for start in (*own, *plan.sources)
    ]
    return [
        *attacks,
        lambda at: square(at.classifier, at.batch, ball, SquareConfig(queries), seed=seed),
        lambda at: label_search(
            at.classifier, at.batch, ball, queries=queries, restart=number, seed=seed
        ),
    ]
