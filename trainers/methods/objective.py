"""The interface of a training method: it gives the loss of each image of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

import torch

from robcert.certify.core import Norm
from robcert.trainers.data import WHOLE_BATCH, ProcessSlice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Step:
    """Position of a batch in the training, and the random numbers and memory of its step.

    Attributes:
        epoch: epochs done, including the fraction of the current one; warm-ups depend on it.
        generator: source of all random numbers of this step, on the device of the batch.
        memory: tensors ``(b, ...)`` that an objective keeps between batches; saved for resuming.
        process_slice: which rows of the whole batch the objective sees.
    """

    epoch: float
    generator: torch.Generator
    memory: dict[str, Tensor] = field(default_factory=dict)
    process_slice: ProcessSlice = WHOLE_BATCH

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform random numbers in [0, 1), in the shape of ``like (b, ...)``."""
        shape = self.process_slice.whole_shape(like.shape)
        drawn = torch.rand(shape, generator=self.generator, device=like.device, dtype=like.dtype)
        return self.process_slice.of(drawn)

    def normal(self, like: Tensor, shape: Sequence[int] | None = None, *, axis: int = 0) -> Tensor:
        """Standard normal random numbers of ``shape``, by default that of ``like``.

        Args:
            like: tensor whose type and device the result has.
            shape: shape of the result, the batch along ``axis``.
            axis: axis of the batch.
        """
        whole = self.process_slice.whole_shape(like.shape if shape is None else shape, axis)
        drawn = torch.randn(whole, generator=self.generator, device=like.device, dtype=like.dtype)
        return self.process_slice.of(drawn, axis)


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of one batch, and further results of an objective.

    Attributes:
        loss: loss of each image ``(b,)``, whose mean is minimised.
        logits: logits ``(b, k)`` that give the training accuracy; may be detached.
        regularizer: a second loss term ``(b,)`` whose parameter gradient is clipped separately
            before it is added; None if there is none.
        clip_norm: largest l2 norm of the gradient of the mean ``regularizer``.
        measured: other quantities for the metrics, one number per image ``(b,)``.
        leaves: tensors that receive a gradient in addition to the parameters.
        after_backward: called between the backward pass and the optimiser step.
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
        """Sum of both terms ``(b,)``."""
        return self.loss if self.regularizer is None else self.loss + self.regularizer


class Objective(Protocol):
    """A training method: a frozen dataclass that is called on every batch.

    Its fields are the method's options. The properties below tell the training loop what the
    method needs; methods inherit the default values from this class.
    """

    __slots__ = ()

    @property
    def replays(self) -> int:
        """Optimiser steps on each batch."""
        return 1

    @property
    def starts_trained(self) -> bool:
        """Whether the method starts from a network trained on clean images."""
        return False

    @property
    def takes_differences(self) -> bool:
        """Whether the method divides small differences of losses by a small step."""
        return False

    @property
    def differentiates_twice(self) -> bool:
        """Whether the method differentiates the input gradient again."""
        return False

    @property
    def norm(self) -> Norm:
        """Norm of the attack that the method defends against."""
        return Norm.LINF

    @property
    def epsilon(self) -> float | None:
        """Radius of that attack, pixel units; None for a method without a radius."""
        return None

    @property
    def warmup(self) -> float:
        """Epochs over which the strength of the method increases from 0; 0 for none."""
        return 0.0

    def stretched(self, factor: float) -> Self:
        """The method for a training ``factor`` times as long."""
        return self

    def idle(self, measured: Mapping[str, float]) -> str:
        """Why the method had no effect in an epoch with these mean values; empty if it had."""
        return ""

    @property
    def unused(self) -> Mapping[str, str]:
        """Fields without effect, each with the value of another field that is the reason."""
        return {}

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses of the pixels ``x (b, c, h, w)`` in [0, 1] with classes ``y (b,)``.

        ``model`` maps pixels to logits ``(b, k)`` and is in training mode.
        """


def warmed_up(value: float, epochs: float, step: Step) -> float:
    """``value`` after a linear increase from 0 over the first ``epochs`` epochs."""
    return value if epochs <= 0 else value * min(1.0, step.epoch / epochs)
