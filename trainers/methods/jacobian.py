"""Jacobian regularization by random projections (Hoffman et al. 2019, arXiv:1908.02729)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robcert.certify.errors import require_at_least, require_not_negative
from robcert.certify.numerics import cross_entropy, normalised

from .objective import Losses, Objective, Step


@dataclass(frozen=True, slots=True)
class Jacobian(Objective):
    r"""Cross-entropy plus :math:`\tfrac{\lambda}{2} \|J(x)\|_F^2`, J the logits' Jacobian.

    :math:`\|J\|_F^2 = k\,E_v \|J^\top v\|_2^2` for v uniform on the sphere of the k logits, so a
    few draws of v give an unbiased estimate; each costs one double backpropagation.

    Attributes:
        weight: lambda.
        projections: number of draws of v.
    """

    weight: float = 0.01
    projections: int = 1

    def __post_init__(self) -> None:
        require_not_negative(weight=self.weight)
        require_at_least("projections", self.projections, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Cross-entropy plus the penalty."""
        point = x.detach().requires_grad_()
        logits = model(point)
        squared = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for _ in range(self.projections):
            v = step.normal(logits)
            (product,) = torch.autograd.grad(
                (normalised(v) * logits).sum(), point, create_graph=True
            )
            squared = squared + product.flatten(1).square().sum(1)
        squared = squared * (logits.shape[1] / self.projections)
        loss = cross_entropy(logits, y) + 0.5 * self.weight * squared
        return Losses(loss, logits.detach(), measured={"jacobian_squared": squared.detach()})

    @property
    def differentiates_twice(self) -> bool:
        """True: the penalty is a function of the input gradient."""
        return True
