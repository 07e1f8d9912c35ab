"""Models that answer the same image differently each time: attack and judge the average.

Expectation over transformation (Athalye, Engstrom, Ilyas, Kwok 2018, arXiv:1707.07397): the
gradient of the mean of several draws. A success counts if most of as many fresh draws agree, for
one lucky draw says nothing of the model.

The model as other attacks would see it: as shipped, or with its logits on another scale.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.model import rounds_by_itself
from robcert.certify.numerics import generator

if TYPE_CHECKING:
    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier, Logits

    from .settings import MaskingSettings


def answers_differ(classifier: Classifier, batch: Batch) -> Tensor:
    """Where two calls of the runtime on the same images give other logits ``(b,)``."""
    first, second = classifier.logits(batch.x), classifier.logits(batch.x)
    return (first != second).any(1) & ~first.isnan().any(1)


def judged_by_mean(classifier: Classifier, draws: int) -> Classifier:
    """The model whose runtime is the mean logits of ``draws`` calls; its gradient is one draw's."""
    return replace(classifier, runtime=_mean(classifier.runtime, draws))


def averaged(classifier: Classifier, draws: int) -> Classifier:
    """The same with the gradient of the mean."""

    def mean(twin: Logits | None) -> Logits | None:
        return None if twin is None else _mean(twin, draws)

    inner = classifier.inner
    return replace(
        judged_by_mean(classifier, draws),
        twin=mean(classifier.twin),
        exact_twin=mean(classifier.exact_twin),
        inner=None if inner is None else lambda: mean(inner()),
    )


def mostly_wrong(classifier: Classifier, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """Where more than half of ``draws`` fresh answers are another class than ``y (b,)``."""
    wrong = torch.stack([classifier.logits(x).argmax(1) != y for _ in range(draws)])
    return wrong.float().mean(0) > 0.5


def _mean(logits: Logits, draws: int) -> Logits:
    return lambda x: torch.stack([logits(x) for _ in range(draws)]).mean(0)


SMALLER, LARGER = 0.01, 100.0
"""Factors on the logits: the first wakes a saturated softmax, the second a flat one."""


def as_checked(classifier: Classifier) -> Classifier:
    """The model with the gradients that the check looks at.

    Those that parity refused because differences tell another slope, too: a gradient that is right
    at the point and wrong at any distance from it is what a shattered model has. And at nodes of a
    number format the stand-in, see :func:`rounds_by_itself`.
    """
    twin = classifier.doubted_twin if classifier.twin is None else classifier.twin
    stepped = rounds_by_itself(classifier.info.straight_through)
    return replace(classifier, twin=twin, exact_twin=classifier.exact_twin if stepped else None)


def as_shipped(classifier: Classifier) -> Classifier:
    """The model whose gradient is the true one of the file's own output, Softmax included."""
    declared = classifier.declared_twin
    if declared is None:
        return replace(classifier, twin=classifier.exact_twin or classifier.twin, exact_twin=None)
    return replace(classifier, twin=lambda x: _log_if_probabilities(declared(x)), exact_twin=None)


def rescaled(classifier: Classifier, factor: float) -> Classifier:
    """The model whose twin gives ``factor`` times the logits: the same classes, another loss."""
    twin = classifier.twin
    if twin is None:
        return classifier
    return replace(classifier, twin=lambda x: factor * twin(x), exact_twin=None)


def opened(classifier: Classifier) -> Classifier | None:
    """The model whose twin gives scores inside the graph, past what may hide their gradient.

    None where there is nothing to go past: then it would be the model itself.
    """
    inner = None if classifier.inner is None else classifier.inner()
    return None if inner is None else replace(classifier, twin=inner, exact_twin=None)


def smoothed(classifier: Classifier, settings: MaskingSettings, seed: int) -> Classifier:
    """The model whose gradient is the mean over noisy copies of the image; its logits stay.

    A gradient that is shattered, pointing elsewhere at every pixel step, averages out to the slope
    of the logits over the size of the noise, half of what the ball leaves a pixel. The noise is the
    same for all images, and each draw is taken with its opposite.
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
        mean = sum(twin(x + shift) + twin(x - shift) for shift in noise) / (2 * len(noise))
        return mean + (twin(x) - mean).detach()

    return replace(classifier, twin=logits, exact_twin=None)


_FORMATS = ((0.0, 1.0, 0.01), (-128.0, 256.0, 0.03), (0.0, 256.0, 0.03))
"""Zero, one and tolerance of the sum, for probabilities in float, in int8 and in uint8.

Softmax in 8 bits has 256 steps from 0 to 1, in TensorFlow Lite always; ten classes rounded to them
are off by 2 % together.
"""


def _log_if_probabilities(scores: Tensor) -> Tensor:
    """Log of ``scores (b, k)`` if they are probabilities, so that cross-entropy is -log p_y."""
    for zero, one, tolerance in _FORMATS:
        shares = (scores - zero) / one
        seen = shares.detach()
        if bool((seen >= 0).all()) and float((seen.sum(1) - 1).abs().amax()) < tolerance:
            return shares.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return scores
