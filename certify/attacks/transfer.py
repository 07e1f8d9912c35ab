"""Transfer: adversarial images of another model, tried on this one (Papernot et al. 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.ascent import maximise, random_start
from robcert.certify.errors import DataError
from robcert.certify.objectives import Loss

from .hunt import Found, Hunt
from .pgd import default_rule, radii, standing

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier
    from robcert.certify.core import Batch, Norm


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
    """
    hunt = Hunt(classifier, batch, norm, seed)
    run_transfer(hunt, hunt.correct, radii(hunt, epsilon), source=source, steps=steps)
    return hunt.result()


def run_transfer(
    hunt: Hunt, rows: Tensor, epsilon: Tensor, *, source: Classifier, steps: int, block: int = 0
) -> None:
    """Transfer within a hunt: all steps are taken on the source, then its best image is tried."""
    target = hunt.classifier
    if (source.image_shape, source.num_classes) != (target.image_shape, target.num_classes):
        message = f"the source {source.info.file} takes other images or classes than the model"
        raise DataError(message)
    for some in torch.split(standing(hunt, rows, epsilon), hunt.lanes):
        if len(some):
            _try(hunt, some, epsilon, source, steps, block)


def _try(
    hunt: Hunt, rows: Tensor, epsilon: Tensor, source: Classifier, steps: int, block: int
) -> None:
    x, y = hunt.x(rows), hunt.y(rows)
    start = random_start(
        hunt.batch.index[rows.cpu().numpy()],
        x,
        norm=hunt.norm,
        epsilon=epsilon[rows],
        seed=hunt.seed,
        stream="attack/transfer",
        block=block,
    )
    climbed = maximise(
        lambda delta: Loss.MARGIN.of(source.twin_logits(x + delta), y),
        x,
        norm=hunt.norm,
        epsilon=epsilon[rows],
        steps=steps,
        rule=default_rule(hunt.norm, steps),
        start=start,
        box=True,
    )
    hunt.n_backward[rows] += steps
    hunt.n_forward[rows] += steps + 1
    point = x + climbed.best_delta
    hunt.claim(rows, point, hunt.logits(rows, point))
