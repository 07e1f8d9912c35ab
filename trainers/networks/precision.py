"""Mixed precision: the network's layers in half precision, losses and penalties in full."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

Precision = Literal["32", "bf16-mixed", "16-mixed"]

_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_GROW_AFTER = 2000
"""Steps without overflow after which the scale doubles, as in torch's own scaler."""


def half_layers(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Context in which layers that can work in half precision do."""
    if precision == "32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_TYPES[precision])


@dataclass(slots=True)
class LossScale:
    """Factor on the loss that keeps small gradients of ``16-mixed`` from vanishing.

    Attributes:
        value: the factor, a power of two, so that it changes no mantissa; 1 for no scaling.
        good: steps without overflow since it last changed.
        used: whether overflow is looked for at all.
    """

    value: float = 1.0
    good: int = 0
    used: bool = False

    def accepts(self, *, finite: bool) -> bool:
        """Whether a step is to be made; the factor adapts to whether its gradients overflowed."""
        if not finite:
            self.value, self.good = max(1.0, self.value / 2), 0
            return False
        self.good += 1
        if self.good == _GROW_AFTER:
            self.value, self.good = self.value * 2, 0
        return True

    @classmethod
    def first(cls, precision: Precision) -> LossScale:
        """Scale that training in ``precision`` starts with."""
        return cls(2.0**16, used=True) if precision == "16-mixed" else cls()
