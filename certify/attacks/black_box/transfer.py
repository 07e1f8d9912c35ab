"""Transfer: adversarial images of another model, tried on this one (Papernot et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import DataError, TwinUnavailableError
from robcert.certify.numerics import Loss, StepRule, maximise, random_start

from ..gradient.pgd import default_rule
from ..search.radius import radii
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.core import Batch, Norm
    from robcert.certify.model import Classifier


def transfer(
    source: Classifier,
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    steps: int = 20,
    seed: int = 0,
) -> Found:
    """What PGD on ``source`` finds within ``epsilon`` that ``classifier`` misclassifies too.

    Raises:
        DataError: the source takes images of another size or has other classes.
        TwinUnavailableError: the source has no gradients.
    """
    require_source(source, classifier)
    state = SearchState(classifier, batch, norm, seed)
    recipe = Recipe(steps)
    run_transfer(state, state.correct, radii(state, epsilon), source=source, recipe=recipe)
    return state.result()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the source is climbed.

    Attributes:
        steps: gradient steps.
        loss: what is climbed.
        rule: the steps; None for those of :func:`default_rule`.
    """

    steps: int = 20
    loss: Loss = Loss.MARGIN
    rule: StepRule | None = None


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
    """Raise a DataError unless both take the same images to as many classes."""
    its, wanted = _task(source), _task(target)
    if its != wanted:
        message = (
            f"the source {source.info.file} takes other images or classes than the model: "
            f"{its}, not {wanted}"
        )
        raise DataError(message)


def run_transfer(
    state: SearchState,
    rows: Tensor,
    epsilon: Tensor,
    *,
    source: Classifier,
    recipe: Recipe,
    block: int = 0,
) -> Tensor:
    """Transfer on a search state: all steps are taken on the source, then its best image is tried.

    Returned is where the source itself was misled ``(b,)``, by its own runtime; False for other
    rows than ``rows``. ``epsilon (b,)`` speaks of all rows of the batch.
    """
    misled = torch.zeros(len(state.batch), dtype=torch.bool, device=rows.device)
    for some in torch.split(rows, state.active_batch_size):
        if len(some):
            point = _climbed(state, some, epsilon, source, recipe, block)
            misled[some] = adversarial(source.logits(point), state.y(some))
            state.verify_candidates(some, point, state.logits(some, point))
    return misled


def _task(model: Classifier) -> str:
    size = " × ".join(str(side) for side in model.image_shape)
    return f"{size} pixels to {model.num_classes} classes"


def _climbed(
    state: SearchState,
    rows: Tensor,
    epsilon: Tensor,
    source: Classifier,
    recipe: Recipe,
    block: int,
) -> Tensor:
    """Images ``(r, c, h, w)`` that the source likes least."""
    x, y = state.x(rows), state.y(rows)
    start = random_start(
        state.batch.index[rows.cpu().numpy()],
        x,
        norm=state.norm,
        epsilon=epsilon[rows],
        seed=state.seed,
        stream="attack/transfer",
        block=block,
    )
    climbed = maximise(
        lambda delta: recipe.loss.of(source.twin_logits(x + delta), y),
        x,
        norm=state.norm,
        epsilon=epsilon[rows],
        steps=recipe.steps,
        rule=recipe.rule or default_rule(state.norm, recipe.steps),
        start=start,
        box=True,
    )
    state.n_backward[rows] += recipe.steps
    state.n_forward[rows] += recipe.steps + 1
    return x + climbed.best_delta
