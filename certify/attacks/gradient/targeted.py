"""Gradient ascent towards chosen classes, at a given radius.

The Random-Targeted and Multi-Targeted attacks on logit differences (Qin et al. 2019,
arXiv:1907.02610, Table 1 and supplement F.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.numerics import generator, targeted_margin

from ..search.ascent import climb
from ..search.early_stopping import outlook_of, unit_slope
from ..search.radius import radii, random_starts, standing
from ..search.state import Found, Hunt
from .pgd import default_rule

if TYPE_CHECKING:
    from robcert.certify.core import Batch, Norm
    from robcert.certify.model import Classifier
    from robcert.certify.numerics import StepRule


def multi_targeted(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    steps: int = 20,
    targets: int | None = None,
    seed: int = 0,
    rule: StepRule | None = None,
    give_up: bool = False,
) -> Found:
    """PGD towards each other class by itself; success if any is reached.

    ``targets`` is how many of the classes with the largest clean logits are tried; None: all.
    ``give_up``: see :func:`~robcert.certify.attacks.gradient.pgd.pgd`.
    """
    hunt = Hunt(classifier, batch, norm, seed)
    run_multi_targeted(
        hunt,
        hunt.correct,
        radii(hunt, epsilon),
        steps=steps,
        targets=targets,
        rule=rule,
        give_up=give_up,
    )
    return hunt.result()


def run_multi_targeted(
    hunt: Hunt,
    rows: Tensor,
    epsilon: Tensor,
    *,
    steps: int,
    targets: int | None = None,
    restarts: int = 1,
    rule: StepRule | None = None,
    give_up: bool = False,
    block: int = 0,
) -> None:
    """Multi-Targeted within a hunt."""
    ranked = hunt.ranked_classes(rows, targets)
    for restart in range(restarts):
        for rank in range(ranked.shape[1]):
            run_towards(
                hunt,
                standing(hunt, rows, epsilon),
                epsilon,
                ranked[:, rank],
                steps=steps,
                rule=rule,
                stream=_named(f"multi-targeted/{rank + 1}", restart),
                block=block,
                give_up=give_up,
            )


def run_towards(
    hunt: Hunt,
    rows: Tensor,
    epsilon: Tensor,
    target: Tensor,
    *,
    steps: int,
    rule: StepRule | None,
    stream: str,
    block: int,
    give_up: bool = False,
) -> None:
    """One ascent of the margin of the classes ``target (b,)`` over y, within a hunt."""

    def margin(logits: Tensor, at: Tensor) -> Tensor:
        return targeted_margin(logits, hunt.y(at), target[at])

    climb(
        hunt,
        rows,
        margin,
        epsilon=epsilon,
        steps=steps,
        rule=rule or default_rule(hunt.norm, steps),
        start=random_starts(hunt, epsilon, stream, block),
        outlook=outlook_of(
            hunt,
            epsilon,
            steps,
            lambda logits, at: unit_slope(margin(logits, at)),
            give_up=give_up,
        ),
    )


def run_random_targeted(
    hunt: Hunt,
    rows: Tensor,
    epsilon: Tensor,
    *,
    steps: int,
    restarts: int = 1,
    rule: StepRule | None = None,
    until_reached: bool = False,
    block: int = 0,
) -> None:
    """Towards one other class, drawn once an image; any misclassification counts as success.

    With ``until_reached`` an image is done only once it is given the drawn class, as the paper
    counts; the nearest image of any other class is kept all the same.
    """
    target = hunt.batch.y.clone()
    for row in rows.tolist():
        stream = generator(hunt.seed, "attack/random-target", int(hunt.batch.index[row]))
        shift = torch.randint(1, hunt.classifier.num_classes, (), generator=stream)
        target[row] = (target[row] + int(shift)) % hunt.classifier.num_classes
    hunt.goal = target if until_reached else None
    for restart in range(restarts):
        if until_reached:
            todo = rows[hunt.goal_distance[rows].isinf()]
        else:
            todo = standing(hunt, rows, epsilon) if restart else rows
        run_towards(
            hunt,
            todo,
            epsilon,
            target,
            steps=steps,
            rule=rule,
            stream=_named("random-targeted", restart),
            block=block,
        )
    hunt.goal = None


def _named(stream: str, restart: int) -> str:
    return f"{stream}/{restart}" if restart else stream
