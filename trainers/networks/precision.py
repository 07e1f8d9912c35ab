"""Mixed precision: layers in half precision, losses and penalties in single precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["32", "bf16-mixed", "16-mixed"]

_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_GROW_AFTER = 2000
"""Steps without overflow after which the scale doubles, as in torch's own scaler."""


def half_layers(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Context in which layers compute in half precision where torch supports it."""
    if precision == "32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_TYPES[precision])


@dataclass(slots=True)
class LossScale:
    """Factor of the loss that prevents underflow of small gradients in ``16-mixed``.

    Attributes:
        value: the factor, a power of two, which does not change the mantissas; 1 for no scaling.
        good: steps without overflow since the factor last changed.
        used: whether gradients are checked for overflow.
    """

    value: float = 1.0
    good: int = 0
    used: bool = False

    def accepts(self, *, finite: bool) -> bool:
        """Whether the step is valid; adapts the factor to overflow of the gradients."""
        if not finite:
            self.value, self.good = max(1.0, self.value / 2), 0
            return False
        self.good += 1
        if self.good == _GROW_AFTER:
            self.value, self.good = self.value * 2, 0
        return True

    @classmethod
    def initial(cls, precision: Precision) -> LossScale:
        """Initial scale for training in ``precision``."""
        return cls(2.0**16, used=True) if precision == "16-mixed" else cls()
