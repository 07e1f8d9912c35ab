"""What the masking check looks at, per image: confidences, gradients, and who gets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.numerics import Loss, value_and_gradient

from .attacks import Attack, Attacks, one_step_from_random, random_point
from .checklist import in_doubt
from .schema import MASKING
from .settings import MaskingSettings, axes
from .trace import bend, high_frequency_share, trace
from .views import answers_differ, as_shipped, mostly_wrong

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns


def evidence(
    classifier: Classifier,
    batch: Batch,
    settings: MaskingSettings,
    *,
    seed: int,
    sources: tuple[Classifier, ...] = (),
) -> Columns:
    """Columns of the masking table for one batch; without a twin some say "not computed".

    Rows depend on their own image alone, unless the model itself draws at random.
    """
    differ = answers_differ(classifier, batch)
    attacks = Attacks.on(classifier, batch, settings, seed)
    model, drawn = attacks.classifier, attacks.drawn
    logits = model.logits(batch.x)
    wrong = logits.argmax(1) != batch.y
    if drawn is not None:
        wrong = mostly_wrong(drawn, batch.x, batch.y, 2 * settings.draws)
    rows = _nothing_yet(len(batch), settings) | {
        "correct": _flags(~wrong),
        "answers_differ": _flags(differ),
        "confidence": _confidence(logits),
        "confidence_random": _confidence(model.logits(random_point(batch, settings, seed))),
    }
    with classifier.forward_only():
        rows |= _outcomes(attacks, attacks.without_gradients())
    rows |= _outcomes(attacks, attacks.by_transfer(sources))
    if classifier.differentiable:
        rows |= _gradient_norms(classifier, batch, settings.norm)
        rows |= _outcomes(attacks, attacks.by_gradient())
        rows |= attacks.at_strengths()
        rows |= _along_the_attack(model, batch, settings, seed)
        rows |= _where_in_doubt(attacks, rows, sources)
    return rows


def _outcomes(attacks: Attacks, run: dict[str, Attack]) -> Columns:
    return {name: attacks.succeeds(attack()) for name, attack in run.items()}


def _where_in_doubt(attacks: Attacks, rows: Columns, sources: tuple[Classifier, ...]) -> Columns:
    """Long searches of the images in doubt; the others are left out."""
    some = np.flatnonzero(in_doubt(rows, attacks.classifier.info))
    found = rows["long_search"].copy()
    if len(some):
        doubtful = attacks.on_rows(torch.from_numpy(some).to(attacks.batch.x.device))
        found[some] = doubtful.succeeds(doubtful.long_search(sources))
    return {"long_search": found}


def _nothing_yet(count: int, settings: MaskingSettings) -> Columns:
    lengths = axes(settings)
    return {
        column.name: np.full(
            (count, *(lengths[axis] for axis in column.trailing)), column.fill
        ).astype(column.dtype)
        for column in MASKING.columns
    }


def _gradient_norms(classifier: Classifier, batch: Batch, norm: Norm) -> Columns:
    def of(model: Classifier, loss: Loss) -> NDArray[np.float64]:
        _, gradient = value_and_gradient(
            lambda x: loss.of(model.twin_logits(x, straight_through=False), batch.y), batch.x
        )
        return norm.dual.of(gradient.double()).cpu().numpy()

    return {
        "gradient_norm_file": of(as_shipped(classifier), Loss.CE),
        "gradient_norm_ce": of(classifier, Loss.CE),
        "gradient_norm_margin": of(classifier, Loss.MARGIN),
    }


def _along_the_attack(
    classifier: Classifier, batch: Batch, settings: MaskingSettings, seed: int
) -> Columns:
    norm, epsilon = settings.norm, settings.epsilon
    watched = trace(classifier, batch, norm=norm, epsilon=epsilon, steps=settings.steps, seed=seed)
    gamma, linear = bend(classifier, batch, norm=norm, epsilon=epsilon, seed=seed)
    one_step = one_step_from_random(classifier, batch, settings, seed)
    return {
        "confidence_pgd1": _confidence(classifier.logits(one_step)),
        "loss_curve": _numbers(watched.losses),
        "margin_curve": _numbers(watched.margins),
        "moved": _flags(watched.moved),
        "gradient_nan": _flags(watched.not_a_number),
        "high_frequency": _numbers(high_frequency_share(watched.delta)),
        "gamma": _numbers(gamma),
        "linear_change": _numbers(linear),
    }


def _confidence(logits: Tensor) -> NDArray[np.float64]:
    return _numbers(logits.softmax(1).amax(1))


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


def _flags(condition: Tensor) -> NDArray[np.int8]:
    return condition.to(torch.int8).cpu().numpy()
