"""Variants of a classifier with another gradient or another scale of the logits.

A model with random outputs is attacked along the gradient of the mean of several draws (expectation
over transformation: Athalye, Engstrom, Ilyas, Kwok 2018, arXiv:1707.07397). Searches see its mean
logits. Where an attack ends, fresh draws judge it: a single draw proves nothing about the model.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.model import rounds_by_itself
from robcert.certify.numerics import classes_of, generator

if TYPE_CHECKING:
    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier, Logits, ScoresInside, Twin

    from .settings import MaskingSettings

SMALLER, LARGER = 0.01, 100.0
"""Factors on the logits: the first undoes a saturated softmax, the second a flat one."""


def answers_differ(classifier: Classifier, batch: Batch) -> Tensor:
    """Where two calls of the runtime on the same images give different logits ``(b,)``."""
    first, second = classifier.logits(batch.x), classifier.logits(batch.x)
    return (first != second).any(1) & ~first.isnan().any(1)


def judged_by_mean(classifier: Classifier, draws: int) -> Classifier:
    """The model with the mean logits of ``draws`` runtime calls and the gradient of one draw."""
    runtime = classifier.runtime
    return replace(classifier, runtime=replace(runtime, logits=_mean(runtime.logits, draws)))


def averaged(classifier: Classifier, draws: int, gradient_draws: int | None = None) -> Classifier:
    """The model with the mean logits of ``draws`` runtime calls and the gradient of such a mean.

    The gradient is that of ``gradient_draws`` draws, if given.
    """
    used = gradient_draws or draws

    def inside() -> ScoresInside | None:
        found = None if twin is None else scores_inside(twin)
        return None if found is None else replace(found, logits=_mean(found.logits, used))

    judged, twin = judged_by_mean(classifier, draws), classifier.twin
    if twin is None:
        return judged
    exact = None if twin.exact is None else _mean(twin.exact, used)
    mean = replace(twin, logits=_mean(twin.logits, used), exact=exact, inside_scores=inside)
    return replace(judged, twin=mean)


def wrong_shares(classifier: Classifier, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """Share of fresh predictions that differ from ``y (b,)``, in two halves of them ``(b, 2)``."""
    wrong = [classes_of(classifier.logits(x)) != y for _ in range(2 * (draws // 2))]
    return torch.stack(wrong).double().view(2, draws // 2, len(y)).mean(1).T


def as_checked(classifier: Classifier) -> Classifier:
    """The model with the gradients that the masking check examines.

    These include gradients that parity rejected because finite differences give another slope: a
    shattered model has a gradient that is right at the point and wrong at any distance from it. At
    nodes of a number format the straight-through gradient is used, see :func:`rounds_by_itself`.
    """
    twin = classifier.doubted_twin if classifier.twin is None else classifier.twin
    if twin is not None and not rounds_by_itself(classifier.info.straight_through):
        twin = replace(twin, exact=None)
    return replace(classifier, twin=twin)


def as_shipped(classifier: Classifier) -> Classifier:
    """The model with the true gradient of the file's own output, Softmax included."""
    twin = classifier.twin
    if twin is None:
        return classifier
    declared = twin.declared
    if declared is None:
        return _with_logits(classifier, twin, twin.exact or twin.logits)
    return _with_logits(classifier, twin, lambda x: _log_if_probabilities(declared(x)))


def shipped_as_is(classifier: Classifier) -> bool:
    """Whether the file's own output is the logits, with the same gradient."""
    twin = classifier.twin
    return twin is not None and twin.declared is None and twin.exact is None


def rescaled(classifier: Classifier, factor: float) -> Classifier:
    """The model whose twin gives ``factor`` times the logits: the same classes, another loss."""
    twin = classifier.twin
    if twin is None:
        return classifier
    return _with_logits(classifier, twin, lambda x: factor * twin.logits(x))


def logits_inside_graph(classifier: Classifier) -> Classifier | None:
    """The model whose twin gives scores inside the graph, bypassing what may hide their gradient.

    None where no layer needs to be bypassed: the result would be the model itself.
    """
    twin = classifier.twin
    inside = None if twin is None else scores_inside(twin)
    return None if twin is None or inside is None else _with_logits(classifier, twin, inside.logits)


def scores_inside(twin: Twin) -> ScoresInside | None:
    """Scores inside the graph; None if there are none, or nothing may hide their gradient."""
    return None if twin.inside_scores is None else twin.inside_scores()


def noise_averaged_gradient(
    classifier: Classifier, settings: MaskingSettings, seed: int
) -> Classifier:
    """The model whose gradient is the mean over noisy copies of the image; its logits stay.

    A shattered gradient, which changes direction from pixel step to pixel step, is averaged to the
    slope of the logits over the size of the noise. Its standard deviation is half of what the ball
    allows per pixel. The noise is the same for all images, and each draw is used with both signs.
    """
    twin = classifier.twin
    if twin is None:
        return classifier
    pixels = math.prod(classifier.image_shape)
    share = {Norm.LINF: 1.0, Norm.L2: pixels**-0.5, Norm.L1: 1 / pixels}[settings.norm]
    draws = [
        torch.randn(
            classifier.image_shape, generator=generator(seed, "masking/noisy-copies", 0, block)
        )
        for block in range(settings.noisy_copies // 2)
    ]
    noise = 0.5 * settings.epsilon * share * torch.stack(draws).to(classifier.device)

    def logits(x: Tensor) -> Tensor:
        pairs = (twin.logits(x + shift) + twin.logits(x - shift) for shift in noise)
        mean = sum(pairs) / (2 * len(noise))
        return mean + (twin.logits(x) - mean).detach()

    return _with_logits(classifier, twin, logits)


def _mean(logits: Logits, draws: int) -> Logits:
    return lambda x: torch.stack([logits(x) for _ in range(draws)]).mean(0)


def _with_logits(classifier: Classifier, twin: Twin, logits: Logits) -> Classifier:
    """The model with ``logits`` as its only gradient."""
    return replace(classifier, twin=replace(twin, logits=logits, exact=None))


_FORMATS = ((0.0, 1.0, 0.01), (-128.0, 256.0, 0.03), (0.0, 256.0, 0.03))
"""Zero, one and tolerance of the sum, for probabilities in float, in int8 and in uint8.

Softmax in 8 bits has 256 steps from 0 to 1 (always so in TensorFlow Lite); rounding ten classes to
them changes their sum by up to 2 %.
"""


def _log_if_probabilities(scores: Tensor) -> Tensor:
    """Log of ``scores (b, k)`` if they are probabilities, so that cross-entropy is -log p_y."""
    known = ~scores.detach().isnan().any(1)
    for zero, one, tolerance in _FORMATS:
        shares = (scores - zero) / one
        seen = shares.detach()[known]
        if bool(((seen >= 0).all(1) & ((seen.sum(1) - 1).abs() < tolerance)).all()):
            return shares.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return scores
