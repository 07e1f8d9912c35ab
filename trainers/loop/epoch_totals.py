"""Sums over an epoch, kept on the device so that no step has to wait for them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import TrainingError

from .processes import ALONE, Processes
from .run_folder import Tally

if TYPE_CHECKING:
    from robcert.trainers.methods import Losses


class Sums:
    """Goes on from ``start``, so that an interrupted epoch adds up to the same bits."""

    def __init__(self, start: Tally, device: torch.device, processes: Processes = ALONE) -> None:
        self._seconds = start.seconds
        self._processes = processes
        if not processes.first:
            start = Tally(measured=dict.fromkeys(start.measured, 0.0))
        self._images = torch.tensor(start.images)
        self._loss = torch.tensor(start.loss, dtype=torch.float64, device=device)
        self._correct = torch.tensor(start.correct, device=device)
        self._measured = {
            name: torch.tensor(value, dtype=torch.float64, device=device)
            for name, value in start.measured.items()
        }

    def add(self, losses: Losses, y: Tensor) -> None:
        """Count one batch with the classes ``y (b,)``."""
        self._images += len(y)
        self._loss += losses.total.detach().double().sum()
        self._correct += (losses.logits.argmax(1) == y).sum()
        for name, values in losses.measured.items():
            total = values.detach().double().sum()
            self._measured[name] = self._measured.get(name, torch.zeros_like(total)) + total

    def require_finite(self, task: str, batch: int) -> None:
        """Raise if a loss of this epoch was not a finite number.

        Raises:
            TrainingError: it was not; what was saved before this epoch is still good.
        """
        if self._processes.any(flag=not math.isfinite(self._loss.item())):
            message = f"the loss is not a finite number in {task}, at or before batch {batch}"
            raise TrainingError(message, hint="lower the learning rate or the method's weight")

    def tally(self, seconds: float) -> Tally:
        """The sums of all processes as numbers; ``seconds`` have passed since the start."""
        images = self._images.to(self._loss.device)
        self._processes.add([images])
        self._processes.add([self._correct])
        self._processes.add([self._loss, *self._measured.values()])
        return Tally(
            images=int(images),
            loss=self._loss.item(),
            correct=int(self._correct),
            seconds=self._seconds + seconds,
            measured={name: value.item() for name, value in self._measured.items()},
        )
