"""What the loop asks of a training method: the loss of each image of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from robcert.trainers.process_share import WHOLE, Share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Step:
    """Where in the training a batch stands, and what an objective may draw on.

    Attributes:
        epoch: epochs done, with the fraction of the running one; warm-ups depend on it.
        generator: source of every random draw of this step, on the device of the batch.
        memory: tensors ``(b, ...)`` that an objective keeps from batch to batch; saved and resumed.
        share: which rows of the whole batch the objective sees.
    """

    epoch: float
    generator: torch.Generator
    memory: dict[str, Tensor] = field(default_factory=dict)
    share: Share = WHOLE

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1), shaped as ``like (b, ...)``."""
        drawn = torch.rand(self.share.whole(like.shape), **self._as(like))
        return self.share.part(drawn)

    def normal(self, like: Tensor, shape: Sequence[int] | None = None, *, axis: int = 0) -> Tensor:
        """Standard normal numbers of ``shape``, that of ``like`` unless given.

        Args:
            like: gives type and device.
            shape: has the batch along ``axis``.
            axis: see ``shape``.
        """
        whole = self.share.whole(like.shape if shape is None else shape, axis)
        return self.share.part(torch.randn(whole, **self._as(like)), axis)

    def _as(self, like: Tensor) -> dict[str, Any]:
        return {"generator": self.generator, "device": like.device, "dtype": like.dtype}


@dataclass(frozen=True, slots=True)
class Losses:
    """What an objective gives for one batch.

    Attributes:
        loss: what is minimised, one number an image ``(b,)``.
        logits: logits ``(b, k)`` that the training accuracy is read off; may be detached.
        regularizer: a second term ``(b,)`` whose parameter gradient is clipped on its own before
            it is added; None for none.
        clip_norm: l2 norm that the gradient of the mean ``regularizer`` is clipped to.
        measured: quantities worth a column of the metrics, one number an image ``(b,)``.
        leaves: tensors that get their gradient beside the parameters.
        after_backward: called when gradients are there and before the parameters move.
    """

    loss: Tensor
    logits: Tensor
    regularizer: Tensor | None = None
    clip_norm: float = float("inf")
    measured: dict[str, Tensor] = field(default_factory=dict)
    leaves: tuple[Tensor, ...] = ()
    after_backward: Callable[[], None] | None = None

    @property
    def total(self) -> Tensor:
        """Both terms together ``(b,)``."""
        return self.loss if self.regularizer is None else self.loss + self.regularizer


class Objective(Protocol):
    """A training method: a frozen dataclass of its numbers, called on every batch.

    Its fields are the method's options; the loop knows nothing else of it, except these two. A
    method that divides small differences of losses says so by a true ``takes_differences``, one
    that differentiates a gradient by the images again by a true ``differentiates_twice``.
    """

    @property
    def replays(self) -> int:
        """Optimiser steps on each batch; 1 for nearly all methods."""

    @property
    def starts_trained(self) -> bool:
        """Whether the method begins with a network trained on clean images."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses of the pixels ``x (b, c, h, w)`` in [0, 1] with classes ``y (b,)``.

        ``model`` maps pixels to logits ``(b, k)`` and is in training mode.
        """


def warmed_up(value: float, epochs: float, step: Step) -> float:
    """``value`` grown linearly from 0 over the first ``epochs`` epochs."""
    return value if epochs <= 0 else value * min(1.0, step.epoch / epochs)
