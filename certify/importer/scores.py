"""Logits from the output of a model, one row per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from robcert.certify.numerics import softmax

if TYPE_CHECKING:
    from .outputs import Squashing

ScoreKind = Literal["logits", "probabilities", "score", "probability"]

_SUM_TOLERANCE = 1e-2
"""Half-precision probabilities of a thousand classes sum to 1 within this."""


def _rows(raw: Tensor) -> Tensor:
    """``raw (b, ...)`` as ``(b, k)``; a number without axes is that of one image."""
    return raw.reshape(raw.shape[0] if raw.ndim else 1, -1).float()


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """What the numbers are, and the logits they stand for.

    Attributes:
        kind: ``logits``; ``probabilities`` that sum to 1, whose logarithms serve as logits (clamped
            at the smallest normal float32, so a probability of 0 is -87.3 and has no gradient);
            ``score`` or ``probability`` of the second of two classes, when there is one number
            only: logits are (0, score) or (0, log-odds).
        classes: k.
    """

    kind: ScoreKind
    classes: int

    def __call__(self, raw: Tensor) -> Tensor:
        """Logits ``(b, k)`` of ``raw (b, ...)``; differentiable."""
        scores = _rows(raw)
        tiny = torch.finfo(torch.float32).tiny
        if self.kind == "logits":
            return scores
        if self.kind == "probabilities":
            return scores.clamp_min(tiny).log()
        if self.kind == "probability":
            scores = scores.clamp_min(tiny).log() - (1 - scores).clamp_min(tiny).log()
        return torch.cat([torch.zeros_like(scores), scores], dim=1)


def score_rule(raw: Tensor, *, is_squashed: bool) -> ScoreRule:
    """Rule for numbers ``raw (b, ...)`` seen on some images.

    Args:
        raw: what the model gave.
        is_squashed: whether a softmax or sigmoid after this tensor was cut off; then these are
            logits whatever they look like.
    """
    scores = _rows(raw)
    count = scores.shape[1]
    known = ~scores.isnan().any(1)
    scores = scores[known] if known.any() else scores
    unit = bool((scores >= 0).all() and (scores <= 1 + _SUM_TOLERANCE).all()) and not is_squashed
    if count == 1:
        return ScoreRule("probability" if unit else "score", 2)
    sums_to_one = bool(((scores.sum(1) - 1).abs() < _SUM_TOLERANCE).all())
    return ScoreRule("probabilities" if unit and sums_to_one else "logits", count)


def squashed(raw: Tensor, by: Squashing) -> Tensor:
    """``raw (b, ...)`` as ``(b, k)`` after the function ``by``."""
    scores = _rows(raw)
    if by == "softmax":
        return softmax(scores, 1)
    if by == "log-softmax":
        return scores.log_softmax(1)
    return scores.sigmoid() if by == "sigmoid" else scores
