"""Training on Gaussian noise, for randomized smoothing (Cohen et al. 2019, arXiv:1902.02918)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.errors import require_positive
from robcert.certify.numerics import cross_entropy

from .objective import Losses, Objective, Step

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Gaussian(Objective):
    r"""Cross-entropy at :math:`x + \sigma n`, :math:`n \sim N(0, I)`, one draw per image and step.

    Noisy pixels are not clipped to [0, 1], as in certification.

    Attributes:
        sigma: standard deviation of the noise, in pixel units.
    """

    sigma: float = 0.25

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses of the noisy images."""
        logits = model(x + self.sigma * step.normal(x))
        return Losses(cross_entropy(logits, y), logits.detach())
