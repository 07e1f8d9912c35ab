"""Totals over an epoch, added up on the device so that no training step has to wait for them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import DivergedError
from robcert.certify.numerics import classes_of

from .processes import ALONE, Processes

if TYPE_CHECKING:
    from robcert.trainers.methods import Losses


@dataclass(slots=True)
class EpochTotals:
    """Totals over the batches of the current epoch.

    Attributes:
        images: training images seen.
        loss: sum of their losses.
        correct: number of them classified correctly, as perturbed by the method.
        seconds: time spent on training steps.
        measured: sum over the images of each quantity that the method measures.
    """

    images: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)


class RunningTotals:
    """Adds batches to ``totals`` on the device.

    The sums continue from the saved ``totals``, so that an interrupted epoch gives the same bits.
    """

    def __init__(
        self, totals: EpochTotals, device: torch.device, processes: Processes = ALONE
    ) -> None:
        self._seconds = totals.seconds
        self._processes = processes
        if not processes.first:
            totals = EpochTotals(measured=dict.fromkeys(totals.measured, 0.0))
        self._images = torch.tensor(totals.images)
        self._loss = torch.tensor(totals.loss, dtype=torch.float64, device=device)
        self._correct = torch.tensor(totals.correct, device=device)
        self._measured = {
            name: torch.tensor(value, dtype=torch.float64, device=device)
            for name, value in totals.measured.items()
        }

    def add(self, losses: Losses, y: Tensor) -> None:
        """Add one batch with the classes ``y (b,)``."""
        self._images += len(y)
        self._loss += losses.total.detach().double().sum()
        self._correct += (classes_of(losses.logits) == y).sum()
        for name, values in losses.measured.items():
            total = values.detach().double().sum()
            self._measured[name] = self._measured.get(name, torch.zeros_like(total)) + total

    def require_finite(self, task: str, batch: int) -> None:
        """Raise if a loss of this epoch was not a finite number.

        Raises:
            TrainingError: a loss was infinite or not a number; what was saved before this epoch
                remains valid.
        """
        if self._processes.any(flag=not math.isfinite(self._loss.item())):
            message = f"the loss is not a finite number in {task}, at or before batch {batch}"
            raise DivergedError(message, hint="lower the learning rate or the method's weight")

    def totals(self, seconds: float) -> EpochTotals:
        """Totals over all processes; ``seconds`` have passed since this object was made."""
        images, correct = self._images.to(self._loss.device, copy=True), self._correct.clone()
        sums = [self._loss.clone(), *(value.clone() for value in self._measured.values())]
        self._processes.add([images])
        self._processes.add([correct])
        self._processes.add(sums)
        return EpochTotals(
            images=int(images),
            loss=sums[0].item(),
            correct=int(correct),
            seconds=self._seconds + seconds,
            measured={
                name: value.item() for name, value in zip(self._measured, sums[1:], strict=True)
            },
        )
