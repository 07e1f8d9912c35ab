"""Adversarial training for free (Shafahi et al. 2019, arXiv:1904.12843)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.numerics import cross_entropy, saturated

from .objective import Losses, Objective, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

_MEMORY = "perturbation"


@dataclass(frozen=True, slots=True)
class Free(Objective):
    r"""Cross-entropy at a perturbation that is updated in the parameters' own backward pass.

    Each batch is used ``replays`` times; one backward pass gives the gradients of the parameters
    and of :math:`\delta`, and :math:`\delta \leftarrow \mathrm{clip}(\delta + s\,\mathrm{sign}
    \nabla_\delta \ell, \pm\epsilon)`. The i-th image of the next batch starts
    at the perturbation of the i-th image of this one. ``epochs`` counts the replays: there are m
    times fewer passes over the data.

    Attributes:
        epsilon: linf radius, pixel units.
        step_size: s, pixel units; None for epsilon.
        replays: m, optimiser steps on each batch.
    """

    epsilon: float = 8 / 255
    step_size: float | None = None
    replays: int = 4

    def __post_init__(self) -> None:
        require_positive("epsilon", self.epsilon)
        require_at_least("replays", self.replays, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses at the saved perturbation, which is updated in the backward pass."""
        kept = step.memory.get(_MEMORY)
        delta = torch.zeros_like(x) if kept is None or kept.shape != x.shape else kept.clone()
        delta.requires_grad_()
        logits = model(saturated(x + delta, 0, 1))
        size = self.epsilon if self.step_size is None else self.step_size

        def move() -> None:
            if delta.grad is not None:
                # a scaled loss may overflow in half precision, which must not be kept in the memory
                moved = delta.detach() + size * delta.grad.nan_to_num().sign()
                step.memory[_MEMORY] = moved.clamp(-self.epsilon, self.epsilon)

        loss = cross_entropy(logits, y)
        return Losses(loss, logits.detach(), leaves=(delta,), after_backward=move)
