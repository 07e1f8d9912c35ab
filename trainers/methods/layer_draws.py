"""The same random numbers in the layers of several passes of one step (dropout and the like)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
"""Maps images ``(b, c, h, w)`` to logits ``(b, k)``."""


class LayerDraws:
    """The random numbers that the layers draw from now on, to be drawn again in later passes.

    A method that compares the loss at an image with that nearby needs one function for both. With
    new draws the difference does not vanish as the images approach each other.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        self._cpu = torch.get_rng_state()
        self._cuda = None if self._device is None else torch.cuda.get_rng_state(self._device)

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Context in which layers draw these numbers; afterwards they go on as if without it."""
        with torch.random.fork_rng(devices=[] if self._device is None else [self._device]):
            torch.set_rng_state(self._cpu)
            if self._device is not None and self._cuda is not None:
                torch.cuda.set_rng_state(self._cuda, self._device)
            yield

    def repeating(self, model: Logits) -> Logits:
        """``model`` with these numbers in each call."""

        def logits(x: Tensor) -> Tensor:
            with self.repeated():
                return model(x)

        return logits
