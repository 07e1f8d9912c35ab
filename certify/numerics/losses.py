"""Losses and margins of logits, one number per image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from .batch_invariant import softmax

FLOAT32_ULPS = 16
"""Differences of logits below this many units in the last place count as rounding."""


class ImageLoss(Protocol):
    """A loss: one number per image, larger the less the logits favour the image's class."""

    def of(self, logits: Tensor, y: Tensor) -> Tensor:
        """Losses ``(b,)`` of ``logits (b, k)`` for the classes ``y (b,)``."""


class Loss(StrEnum):
    """Losses of the analyses; each is larger the less the logits favour the image's class."""

    CE = "ce"
    MARGIN = "margin"
    PROBABILITY_MARGIN = "prob-margin"

    def of(self, logits: Tensor, y: Tensor) -> Tensor:
        """Losses ``(b,)`` of ``logits (b, k)`` for the classes ``y (b,)``."""
        return {
            Loss.CE: cross_entropy,
            Loss.MARGIN: margin_loss,
            Loss.PROBABILITY_MARGIN: probability_margin_loss,
        }[self](logits, y)


@dataclass(frozen=True, slots=True)
class TopMargin:
    """The k-th largest score of the other classes minus the score of y (Finlay & Oberman 2019).

    Negative where y is among the ``k`` largest scores; with k = 1 the margin loss.

    Attributes:
        k: rank, smaller than the number of classes.
        probability: whether scores are softmax probabilities instead of logits.
    """

    k: int
    probability: bool = False

    def of(self, logits: Tensor, y: Tensor) -> Tensor:
        """Losses ``(b,)`` of ``logits (b, k)`` for the classes ``y (b,)``."""
        scores = softmax(logits, 1) if self.probability else logits
        others = scores.scatter(1, y.unsqueeze(1), -torch.inf)
        return others.topk(self.k, dim=1).values[:, -1] - _of_class(scores, y)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    r""":math:`\log\sum_i e^{z_i} - z_y`, in nats, ``(b,)``."""
    return functional.cross_entropy(logits, y, reduction="none")


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    r""":math:`\max_{i \ne y} z_i - z_y`, ``(b,)``; negative where the image is classified as y."""
    return largest_other(logits, y) - _of_class(logits, y)


def probability_margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    r""":math:`\max_{i \ne y} p_i - p_y` with p = softmax(z), in [-1, 1] (Finlay & Oberman 2019)."""
    return margin_loss(softmax(logits, 1), y)


def targeted_margin(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    r""":math:`z_t - z_y`, ``(b,)``; positive where the target has the larger logit."""
    return _of_class(logits, target) - _of_class(logits, y)


def largest_other(logits: Tensor, y: Tensor) -> Tensor:
    """Largest entry of each row of ``logits (b, k)`` that is not the one at ``y``."""
    return logits.scatter(1, y.unsqueeze(1), -torch.inf).amax(1)


def _of_class(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y.unsqueeze(1)).squeeze(1)


def largest_size(logits: Tensor) -> Tensor:
    """Largest absolute value ``(b,)`` of the finite entries of each row, 0 if there are none.

    A class that is ruled out has the logit -inf, of which no difference that is finite is taken.
    """
    return torch.where(logits.isfinite(), logits.abs(), 0.0).amax(1)


def rounding_floor(terms: Tensor) -> Tensor:
    """Size below which a difference of losses is rounding, from the size of its ``terms (b,)``."""
    return FLOAT32_ULPS * torch.finfo(terms.dtype).eps * terms
