"""Input-gradient regularization (Finlay & Oberman 2019, arXiv:1905.11468, equations 8 and 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_not_negative, require_positive
from robcert.certify.numerics import cross_entropy, largest_entry, normalised
from robcert.trainers.networks import frozen_averages

from .layer_draws import LayerDraws
from .objective import Losses, Objective, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .input_ascent import PerExample


@dataclass(frozen=True, slots=True)
class Gradient(Objective):
    r"""Cross-entropy plus a penalty on the dual norm of its input gradient.

    .. math:: \ell(x) + \tfrac{\lambda}{2} \|\nabla_x \ell(x)\|_*^2, \qquad
              \|\nabla \ell\|_* \approx \frac{\ell(x + h d) - \ell(x)}{h}

    with :math:`d` the direction in which the gradient has its dual norm, scaled to l2 norm 1 and
    held constant. Against linf attacks that is :math:`\mathrm{sign}(\nabla\ell)/\sqrt{N}`, and the
    published penalty is :math:`\|\nabla\ell\|_1^2 / N` (``scale`` mean). Finite differences cost
    one more forward and backward pass instead of a double backpropagation.

    Attributes:
        norm: norm of the attacks; the penalty is in its dual.
        weight: lambda; the factor of the norm where ``power`` is ``norm``.
        step: h, an l2 length in pixel units.
        scheme: ``forward`` or ``central`` differences, or ``exact`` double backpropagation.
        power: ``squared`` with the factor one half, or the ``norm`` itself (a hard constraint on
            the attack, Prop. 3.1).
        scale: against linf, ``mean`` divides the l1 norm by the root of the number of pixels, as
            published; ``full`` does not.
    """

    norm: Norm = Norm.LINF
    weight: float = 1.0
    step: float = 0.01
    scheme: Literal["forward", "central", "exact"] = "forward"
    power: Literal["squared", "norm"] = "squared"
    scale: Literal["mean", "full"] = "mean"

    def __post_init__(self) -> None:
        require_not_negative(weight=self.weight)
        require_positive("step", self.step)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Cross-entropy plus the penalty."""
        draws = LayerDraws(x.device)
        point = x.detach().requires_grad_()
        logits = model(point)
        loss = cross_entropy(logits, y)
        (gradient,) = torch.autograd.grad(
            loss.sum(), point, create_graph=self.scheme == "exact", retain_graph=True
        )
        if self.scheme == "exact":
            norm = self._exact(gradient)
        else:
            steepest = self._direction(gradient.detach())
            with frozen_averages(model):
                norm = self._difference(
                    lambda z: cross_entropy(draws.repeating(model)(z), y), x, loss, steepest
                )
        penalty = 0.5 * norm.square() if self.power == "squared" else norm.abs()
        total = loss + self.weight * penalty
        return Losses(total, logits.detach(), measured={"gradient_norm": norm.detach().abs()})

    def _exact(self, gradient: Tensor) -> Tensor:
        norm = Norm(self.norm).dual.of(gradient)
        pixels = gradient[0].numel()
        return norm / pixels**0.5 if self._by_mean else norm

    def _direction(self, gradient: Tensor) -> Tensor:
        """Direction of l2 norm 1 in which ``gradient`` has its dual norm."""
        pixels = gradient[0].numel()
        return {
            Norm.L2: normalised,
            Norm.LINF: lambda g: g.sign() / pixels**0.5,
            Norm.L1: largest_entry,
        }[Norm(self.norm)](gradient)

    def _difference(self, losses: PerExample, x: Tensor, loss: Tensor, direction: Tensor) -> Tensor:
        """Dual norms ``(b,)`` by differences of ``losses``, which are ``loss`` at ``x``."""
        ahead = losses(x + self.step * direction)
        if self.scheme == "central":
            slope = (ahead - losses(x - self.step * direction)) / (2 * self.step)
        else:
            slope = (ahead - loss) / self.step
        full = Norm(self.norm) is Norm.LINF and self.scale == "full"
        return slope * x[0].numel() ** 0.5 if full else slope

    @property
    def takes_differences(self) -> bool:
        """Whether small differences of losses are divided by a small step."""
        return self.scheme != "exact"

    @property
    def differentiates_twice(self) -> bool:
        """Whether the input gradient is differentiated again."""
        return self.scheme == "exact"

    @property
    def unused(self) -> Mapping[str, str]:
        """The step of differences that are not taken, and the scale of a norm other than l1."""
        found = {"step": "scheme exact"} if self.scheme == "exact" else {}
        norm = Norm(self.norm)
        return found if norm is Norm.LINF else {**found, "scale": f"norm {norm}"}

    @property
    def _by_mean(self) -> bool:
        return Norm(self.norm) is Norm.LINF and self.scale == "mean"


def equivalent_weight(delta: float, curvature: float) -> float:
    r""":math:`\lambda = \delta / (1 - \delta C)` of Proposition 3.1, for :math:`\omega \le Ct^2/2`.

    The penalty of weight :math:`\lambda` bounds the loss under attacks of cost
    :math:`\|v\|^2 / (2\delta)`. (The paper writes :math:`\omega \le C t^2`, for which C is to be
    doubled.)
    """
    return delta / (1 - delta * curvature)
