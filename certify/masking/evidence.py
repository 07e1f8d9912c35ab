"""Evidence of the masking check per image: confidences, gradients, success of each attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.core import Ball, silent
from robcert.certify.numerics import Loss, classes_of, value_and_gradient

from .attacks import AttackPlan, PendingAttack, one_step_from_random, random_point
from .checklist import needs_long_search
from .schema import JUDGED, MASKING
from .settings import MaskingSettings, axes
from .trace import bend, high_frequency_share, trace
from .views import answers_differ, as_shipped

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.attacks import Found
    from robcert.certify.core import Batch, Norm, Progress
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns

_FURTHER = 2  # attacks at several radii, and the long search


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
    attacks = AttackPlan.on(classifier, batch, settings, seed)
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
    searches, transfers = attacks.without_gradients(), attacks.by_transfer(sources)
    ascents = attacks.by_gradient() if classifier.differentiable else {}
    task = f"attacks on {len(batch)} images"
    seen = _Count(progress, task, len(searches) + len(transfers) + len(ascents) + _FURTHER)
    with classifier.forward_only():
        _add_outcomes(columns, attacks, searches, seen)
    _add_outcomes(columns, attacks, transfers, seen)
    if classifier.differentiable:
        columns |= _gradient_norms(classifier, batch, settings.norm)
        _add_outcomes(columns, attacks, ascents, seen)
        columns |= attacks.at_strengths(columns)
        seen.one()
        columns |= _attack_path(model, batch, settings, seed)
        _add_long_search(columns, attacks, sources)
    seen.end()
    return columns


@dataclass(slots=True)
class _Count:
    """Progress within a batch, in attacks."""

    progress: Progress
    task: str
    total: int
    done: int = 0

    def one(self) -> None:
        self.done += 1
        self.progress(self.task, self.done, self.total)

    def end(self) -> None:
        self.progress(self.task, self.total, self.total)


def _add_outcomes(
    columns: Columns, attacks: AttackPlan, run: dict[str, PendingAttack], seen: _Count
) -> None:
    for name, attack in run.items():
        _add_outcome(columns, attacks, name, attack(), slice(None))
        seen.one()


def _add_long_search(
    columns: Columns, attacks: AttackPlan, sources: tuple[Classifier, ...]
) -> None:
    """Outcome of the long search on selected images; the others keep their fill value."""
    some = np.flatnonzero(needs_long_search(columns, attacks.classifier.info))
    if len(some):
        doubtful = attacks.on_rows(torch.from_numpy(some).to(attacks.batch.x.device))
        _add_outcome(columns, doubtful, "long_search", doubtful.long_search(sources), some)


def _add_outcome(
    columns: Columns,
    attacks: AttackPlan,
    name: str,
    found: Found,
    rows: slice | NDArray[np.int64],
) -> None:
    """Success of an attack on some rows, and, if outputs are random, what fresh draws give."""
    shares = attacks.judged(found.x_adv)
    if shares is None:
        columns[name][rows] = _flags(found.found)
        return
    columns[name][rows] = (shares.mean(1) > 0.5).astype(np.int8)
    if name in JUDGED:
        columns["wrong_share"][rows, JUDGED.index(name)] = shares


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

    return {
        "gradient_norm_file": of(as_shipped(classifier), Loss.CE),
        "gradient_norm_ce": of(classifier, Loss.CE),
        "gradient_norm_margin": of(classifier, Loss.MARGIN),
    }


def _attack_path(
    classifier: Classifier, batch: Batch, settings: MaskingSettings, seed: int
) -> Columns:
    norm, epsilon = settings.norm, settings.epsilon
    traced = trace(classifier, batch, Ball(norm, epsilon), steps=settings.steps, seed=seed)
    gamma, linear = bend(classifier, batch, norm=norm, epsilon=epsilon, seed=seed)
    one_step = one_step_from_random(classifier, batch, settings, seed)
    return {
        "confidence_pgd1": _confidence(classifier.logits(one_step)),
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
