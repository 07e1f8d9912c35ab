"""Evidence of the masking check per image: confidences, gradients, success of each attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.core import silent
from robcert.certify.numerics import Loss, classes_of, value_and_gradient

from .attacks import AttackPlan, one_step_from_random, random_point
from .outcomes import Outcomes
from .schema import JUDGED, MASKING
from .settings import MaskingSettings, axes
from .trace import bend, high_frequency_share
from .views import answers_differ, as_shipped, shipped_as_is

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch, Norm, Progress
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns

    from .trace import Trace


def evidence(
    classifier: Classifier,
    batch: Batch,
    settings: MaskingSettings,
    *,
    seed: int,
    sources: tuple[Classifier, ...] = (),
    progress: Progress = silent,
) -> Columns:
    """Columns of the masking table for one batch; some keep their fill value without a twin.

    A row does not depend on the other images of the batch, unless the model itself is random.
    ``progress`` counts the attacks on the batch.
    """
    differ = answers_differ(classifier, batch)
    attacks = AttackPlan.on(classifier, batch, settings, seed, sources)
    model, clean = attacks.classifier, attacks.judged(batch.x)
    logits = model.logits(batch.x)
    columns = _blank(len(batch), settings) | {
        "correct": _flags(classes_of(logits) == batch.y),
        "answers_differ": _flags(differ),
        "confidence": _confidence(logits),
        "confidence_random": _confidence(model.logits(random_point(batch, settings, seed))),
    }
    if clean is not None:
        columns["correct"] = (clean.mean(1) <= 0.5).astype(np.int8)
        columns["wrong_share"][:, JUDGED.index("clean")] = clean
    outcomes = Outcomes.of(attacks, columns, progress)
    if classifier.differentiable:
        columns |= _gradient_norms(classifier, batch, settings.norm)
        correct, traced = np.flatnonzero(columns["correct"] == 1), None
        if len(correct):
            seen = attacks.on_rows(torch.from_numpy(correct).to(batch.x.device))
            traced = seen.traced()
            for name, values in _attack_path(seen, traced).items():
                columns[name][correct] = values
        outcomes.follow_gradients(traced)
    outcomes.search()
    return columns


def _blank(count: int, settings: MaskingSettings) -> Columns:
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

    on_logits = of(classifier, Loss.CE)
    shipped = on_logits if shipped_as_is(classifier) else of(as_shipped(classifier), Loss.CE)
    return {
        "gradient_norm_file": shipped,
        "gradient_norm_ce": on_logits,
        "gradient_norm_margin": of(classifier, Loss.MARGIN),
    }


def _attack_path(attacks: AttackPlan, traced: Trace) -> Columns:
    model, batch, settings, seed = (
        attacks.classifier,
        attacks.batch,
        attacks.settings,
        attacks.seed,
    )
    gamma, linear = bend(model, batch, norm=settings.norm, epsilon=settings.epsilon, seed=seed)
    one_step = one_step_from_random(model, batch, settings, seed)
    return {
        "confidence_pgd1": _confidence(model.logits(one_step)),
        "loss_curve": _numbers(traced.losses),
        "margin_curve": _numbers(traced.margins),
        "moved": _flags(traced.moved),
        "gradient_nan": _flags(traced.not_a_number),
        "high_frequency": _numbers(high_frequency_share(traced.delta)),
        "gamma": _numbers(gamma),
        "linear_change": _numbers(linear),
    }


def _confidence(logits: Tensor) -> NDArray[np.float64]:
    return _numbers(logits.softmax(1).amax(1))


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


def _flags(condition: Tensor) -> NDArray[np.int8]:
    return condition.to(torch.int8).cpu().numpy()
