"""Gradient ascent towards chosen classes, at a given radius.

The Random-Targeted and Multi-Targeted attacks on logit differences (Qin et al. 2019,
arXiv:1907.02610, Table 1 and supplement F.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.numerics import generator, targeted_margin

from ..search.ascent import run_ascents
from ..search.early_stopping import early_stopping_of, unit_slope
from ..search.radius import radii, random_starts, standing
from ..search.state import Found, SearchState
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
    early_stopping: bool = False,
) -> Found:
    """PGD towards each other class by itself; success if any is reached.

    ``targets`` is how many of the classes with the largest clean logits are tried; None: all.
    ``early_stopping``: see :func:`~robcert.certify.attacks.gradient.pgd.pgd`.
    """
    state = SearchState(classifier, batch, norm, seed)
    run_multi_targeted(
        state,
        state.correct,
        radii(state, epsilon),
        steps=steps,
        targets=targets,
        rule=rule,
        early_stopping=early_stopping,
    )
    return state.result()


def run_multi_targeted(
    state: SearchState,
    rows: Tensor,
    epsilon: Tensor,
    *,
    steps: int,
    targets: int | None = None,
    restarts: int = 1,
    rule: StepRule | None = None,
    early_stopping: bool = False,
    block: int = 0,
) -> None:
    """Multi-Targeted on a search state."""
    ranked = state.ranked_classes(rows, targets)
    for restart in range(restarts):
        for rank in range(ranked.shape[1]):
            run_towards(
                state,
                standing(state, rows, epsilon),
                epsilon,
                ranked[:, rank],
                steps=steps,
                rule=rule,
                stream=_named(f"multi-targeted/{rank + 1}", restart),
                block=block,
                early_stopping=early_stopping,
            )


def run_towards(
    state: SearchState,
    rows: Tensor,
    epsilon: Tensor,
    target: Tensor,
    *,
    steps: int,
    rule: StepRule | None,
    stream: str,
    block: int,
    early_stopping: bool = False,
) -> None:
    """One ascent of the margin of the classes ``target (b,)`` over y, on a search state."""

    def margin(logits: Tensor, at: Tensor) -> Tensor:
        return targeted_margin(logits, state.y(at), target[at])

    run_ascents(
        state,
        rows,
        margin,
        epsilon=epsilon,
        steps=steps,
        rule=rule or default_rule(state.norm, steps),
        start=random_starts(state, epsilon, stream, block),
        early_stopping=early_stopping_of(
            state,
            epsilon,
            steps,
            lambda logits, at: unit_slope(margin(logits, at)),
            early_stopping=early_stopping,
        ),
    )


def run_random_targeted(
    state: SearchState,
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
    target = state.batch.y.clone()
    for row in rows.tolist():
        stream = generator(state.seed, "attack/random-target", int(state.batch.index[row]))
        shift = torch.randint(1, state.classifier.num_classes, (), generator=stream)
        target[row] = (target[row] + int(shift)) % state.classifier.num_classes
    state.target = target if until_reached else None
    for restart in range(restarts):
        if until_reached:
            todo = rows[state.target_distance[rows].isinf()]
        else:
            todo = standing(state, rows, epsilon) if restart else rows
        run_towards(
            state,
            todo,
            epsilon,
            target,
            steps=steps,
            rule=rule,
            stream=_named("random-targeted", restart),
            block=block,
        )
    state.target = None


def _named(stream: str, restart: int) -> str:
    return f"{stream}/{restart}" if restart else stream
