"""What the masking check looks at, per image: confidences, gradients, and who gets through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from .ascent import Direction, StepRule, maximise
from .attacks.noise import noise_search
from .attacks.pgd import fgsm, multi_targeted, pgd, unbounded
from .attacks.square import square
from .core import Batch, Norm
from .gradients import value_and_gradient
from .objectives import Loss
from .sampling import generator, point_in_ball
from .schema import MASKING

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .attacks.hunt import Found
    from .classifier import Classifier
    from .session import Rows


@dataclass(frozen=True, slots=True)
class MaskingSettings:
    """Settings of the masking check.

    Attributes:
        norm: norm of the ball that the attacks share.
        epsilon: its radius, pixel units.
        steps: gradient steps of PGD.
        restarts: runs of PGD on the margin.
        targets: classes that the multi-targeted attack tries.
        unbounded_steps: steps of the attack that only the pixel box bounds.
        noise_draws: random points an image.
        queries: model queries of the score search, an image.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    steps: int = 40
    restarts: int = 3
    targets: int = 3
    unbounded_steps: int = 100
    noise_draws: int = 100
    queries: int = 500


def evidence(classifier: Classifier, batch: Batch, settings: MaskingSettings, *, seed: int) -> Rows:
    """Columns of the masking table for one batch; without a twin some say "not computed"."""
    logits = classifier.logits(batch.x)
    again = classifier.logits(batch.x)
    rows: Rows = {c.name: np.full(len(batch), c.fill).astype(c.dtype) for c in MASKING.columns}
    rows |= {
        "correct": _flags(logits.argmax(1) == batch.y),
        "answers_differ": _flags((logits != again).any(1) & ~logits.isnan().any(1)),
        "confidence": _confidence(logits),
        "confidence_random": _confidence(classifier.logits(_random_point(batch, settings, seed))),
    }
    rows |= _gradient_free(classifier, batch, settings, seed)
    if classifier.differentiable:
        rows |= _gradient_norms(classifier, batch, settings.norm)
        rows |= _gradient_attacks(classifier, batch, settings, seed)
    return rows


def as_shipped(classifier: Classifier) -> Classifier:
    """The model whose gradient is the true one of the file's own output, Softmax included."""
    declared = classifier.declared_twin
    if declared is None:
        return replace(classifier, twin=classifier.exact_twin or classifier.twin, exact_twin=None)
    return replace(classifier, twin=lambda x: _log_if_probabilities(declared(x)), exact_twin=None)


def _log_if_probabilities(scores: Tensor) -> Tensor:
    """Log of ``scores (b, k)`` if they are probabilities, so that cross-entropy is -log p_y."""
    seen = scores.detach()
    sums = (seen.sum(1) - 1).abs().amax()
    if bool((seen >= 0).all()) and float(sums) < 1e-2:
        return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return scores


def _gradient_norms(classifier: Classifier, batch: Batch, norm: Norm) -> Rows:
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


def _gradient_attacks(
    classifier: Classifier, batch: Batch, settings: MaskingSettings, seed: int
) -> Rows:
    norm, epsilon, steps = settings.norm, settings.epsilon, settings.steps
    climb = partial(pgd, batch=batch, norm=norm, epsilon=epsilon, steps=steps, seed=seed)
    pgd1 = _one_step_from_random(classifier, batch, settings, seed)
    targeted = multi_targeted(
        classifier,
        batch,
        norm=norm,
        epsilon=epsilon,
        steps=steps,
        targets=settings.targets,
        seed=seed,
    )
    return {
        "confidence_pgd1": _confidence(classifier.logits(pgd1)),
        "fgsm": _found(fgsm(classifier, batch, norm=norm, epsilon=epsilon)),
        "pgd_file": _found(climb(as_shipped(classifier), loss=Loss.CE)),
        "pgd_ce": _found(climb(classifier, loss=Loss.CE)),
        "pgd_margin": _found(climb(classifier, loss=Loss.MARGIN, restarts=settings.restarts)),
        "multi_targeted": _found(targeted),
        "unbounded": _found(
            unbounded(classifier, batch, steps=settings.unbounded_steps, seed=seed)
        ),
    }


def _one_step_from_random(
    classifier: Classifier, batch: Batch, settings: MaskingSettings, seed: int
) -> Tensor:
    """The images of SOAR's PGD1: a random start and one step of 2/8 of the radius on CE."""
    start = _random_point(batch, settings, seed) - batch.x
    climbed = maximise(
        lambda delta: Loss.CE.of(classifier.twin_logits(batch.x + delta), batch.y),
        batch.x,
        norm=settings.norm,
        epsilon=settings.epsilon,
        steps=1,
        rule=StepRule(Direction.steepest(settings.norm), 0.25, relative=True),
        start=start,
        box=True,
    )
    return (batch.x + climbed.last_delta).clamp(0, 1)


def _gradient_free(
    classifier: Classifier, batch: Batch, settings: MaskingSettings, seed: int
) -> Rows:
    norm, epsilon = settings.norm, settings.epsilon
    noise = noise_search(
        classifier, batch, norm=norm, epsilon=epsilon, draws=settings.noise_draws, seed=seed
    )
    search = square(
        classifier, batch, norm=norm, epsilon=epsilon, queries=settings.queries, seed=seed
    )
    return {"noise": _found(noise), "search": _found(search)}


def _random_point(batch: Batch, settings: MaskingSettings, seed: int) -> Tensor:
    shape = tuple(batch.x.shape[1:])
    noise = [
        point_in_ball(
            settings.norm,
            settings.epsilon,
            shape,
            generator=generator(seed, "masking/random", int(index)),
        )
        for index in batch.index
    ]
    return (batch.x + torch.stack(noise).to(batch.x.device)).clamp(0, 1)


def _confidence(logits: Tensor) -> NDArray[np.float64]:
    return logits.softmax(1).amax(1).double().cpu().numpy()


def _found(found: Found) -> NDArray[np.int8]:
    return _flags(found.found)


def _flags(condition: Tensor) -> NDArray[np.int8]:
    return condition.to(torch.int8).cpu().numpy()
