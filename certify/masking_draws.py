"""Models that answer the same image differently each time: attack and judge the average.

Expectation over transformation (Athalye, Engstrom, Ilyas, Kwok 2018, arXiv:1707.07397): the
gradient of the mean of several draws. A success counts if most of as many fresh draws agree, for
one lucky draw says nothing of the model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .classifier import Classifier, Logits
    from .core import Batch


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
