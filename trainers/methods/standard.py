"""Training on cross-entropy alone: the network that every method is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from robcert.certify.numerics import cross_entropy

from .objective import Losses, Step

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Standard:
    """Cross-entropy of the clean images."""

    replays: ClassVar[int] = 1
    starts_trained: ClassVar[bool] = False

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses of the batch."""
        logits = model(x)
        return Losses(cross_entropy(logits, y), logits.detach())
