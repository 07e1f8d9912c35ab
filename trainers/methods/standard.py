"""Training on the cross-entropy alone: the baseline of all other methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.numerics import cross_entropy

from .objective import Losses, Objective, Step

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Standard(Objective):
    """Cross-entropy of the clean images."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses of the clean images."""
        logits = model(x)
        return Losses(cross_entropy(logits, y), logits.detach())
