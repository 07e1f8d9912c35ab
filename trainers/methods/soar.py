"""Second-order adversarial regularization (Ma, Faghri, Farahmand 2020, arXiv:2004.01832)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_not_negative, require_positive
from robcert.certify.numerics import Direction, StepRule, cross_entropy
from robcert.trainers.networks import frozen_averages

from .input_ascent import InputAscent, evaluation_mode, frozen_parameters, in_cube
from .layer_draws import LayerDraws
from .objective import Losses, Objective, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .layer_draws import Logits


@dataclass(frozen=True, slots=True)
class Soar(Objective):
    r"""Cross-entropy at :math:`x'` plus :math:`\lambda R(x')` (equations 11 and 12).

    .. math:: R = \tfrac12 (d\epsilon^2 + 1) \,\Bigl\| \|z_d\|
              \frac{\nabla\ell(x' + h \tilde z) - \nabla\ell(x')}{h} + z_1 \nabla\ell(x') \Bigr\|_2

    with :math:`z = (z_d, z_1) \sim N(0, I_{d+1})` and :math:`\tilde z = z_d / \|z_d\|`: an
    estimate of the Frobenius norm of the second-order model's matrix. By Jensen's inequality the
    mean of the norms is below the Frobenius norm, which the paper's equation 8 overlooks; the
    root of the mean square (``estimator`` rms) is not.

    Attributes:
        epsilon: linf radius, pixel units.
        weight: lambda; 1 by the theory, 0.5 in the paper's experiments.
        start: x' is the image (``zero``), a ``random`` point of the cube, or one sign step of
            ``step_size`` from there (``pgd1``).
        step_size: length of that step, pixel units.
        step_least: smallest h; differences of float32 gradients need a lower limit, which the paper
            does not have.
        step_most: alpha, pixel units; h is uniform between ``step_least`` and this.
        value_clip: largest norm per image; above it the penalty has no gradient.
        gradient_clip: largest l2 norm of the penalty's own parameter gradient.
        directions: draws of z to average over.
        estimator: ``mean_norm`` as in the paper, or ``rms``.
        last: whether the matrix's last row, :math:`\nabla\ell^\top z_d + z_1`, is included.
    """

    epsilon: float = 8 / 255
    weight: float = 0.5
    start: Literal["zero", "random", "pgd1"] = "pgd1"
    step_size: float = 2 / 255
    step_least: float = 1e-3
    step_most: float = 8 / 255
    value_clip: float = 10.0
    gradient_clip: float = 30.0
    directions: int = 1
    estimator: Literal["mean_norm", "rms"] = "mean_norm"
    last: bool = False

    def __post_init__(self) -> None:
        require_not_negative(weight=self.weight)
        require_positive("epsilon", self.epsilon)
        require_positive("step_least", self.step_least)
        require_at_least("directions", self.directions, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        """Losses at x' and the penalty there, whose gradient is clipped separately."""
        point = (x + self.offset(model, x, y, step)).requires_grad_()
        draws = LayerDraws(x.device)
        logits = model(point)
        loss = cross_entropy(logits, y)
        (gradient,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
        again = draws.repeating(model)
        with frozen_averages(model):
            norms = [
                self._norm(again, point.detach(), y, gradient, step) for _ in range(self.directions)
            ]
        norm = torch.stack(norms).mean(0)
        if self.estimator == "rms":
            norm = torch.stack(norms).square().mean(0).sqrt()
        clipped = norm.clamp_max(self.value_clip)
        factor = self.weight * 0.5 * (x[0].numel() * self.epsilon**2 + 1)
        return Losses(
            loss,
            logits.detach(),
            regularizer=factor * clipped,
            clip_norm=self.gradient_clip,
            measured={
                "matrix_norm": norm.detach(),
                "clipped_share": (norm.detach() > self.value_clip).float(),
            },
        )

    def offset(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        """The difference x' - x ``(b, c, h, w)``; no gradient."""
        if self.start == "zero":
            return torch.zeros_like(x)
        steps = 1 if self.start == "pgd1" else 0
        rule = StepRule(Direction.SIGN, self.step_size)
        ascent = InputAscent(Norm.LINF, self.epsilon, steps, rule)
        initial = in_cube(step.uniform(x), self.epsilon)
        with evaluation_mode(model), frozen_parameters(model):
            return ascent(lambda z: cross_entropy(model(z), y), x, initial)

    @property
    def starts_trained(self) -> bool:
        """True: the paper starts from a network trained on clean images."""
        return True

    @property
    def takes_differences(self) -> bool:
        """True: gradients are differenced over the step h."""
        return True

    @property
    def differentiates_twice(self) -> bool:
        """True: the penalty is a function of the input gradient."""
        return True

    def idle(self, measured: Mapping[str, float]) -> str:
        """Why the penalty had no effect: a clipped norm has no gradient."""
        if measured.get("clipped_share", 0.0) < 1:
            return ""
        return (
            f"the penalty had no effect: its norm was above {self.value_clip:g}, where it is "
            "clipped and has no gradient, for every image"
        )

    @property
    def unused(self) -> Mapping[str, str]:
        """The length of a sign step that is not made."""
        return {} if self.start == "pgd1" else {"step_size": f"start {self.start}"}

    def _norm(self, model: Logits, x: Tensor, y: Tensor, gradient: Tensor, step: Step) -> Tensor:
        r""":math:`\\|Hz\\|_2` ``(b,)`` of one draw of z per image, differentiable."""
        z, z_last = step.normal(x), step.normal(x, (len(x),))
        h = step.uniform(z_last)
        h = self.step_least + h * (self.step_most - self.step_least)
        length = Norm.L2.of(z)
        moved = (x + z * (h / length).view(-1, 1, 1, 1)).requires_grad_()
        beyond = cross_entropy(model(moved), y)
        (other,) = torch.autograd.grad(beyond.sum(), moved, create_graph=True)
        product = (other - gradient) * (length / h).view(-1, 1, 1, 1)
        product = (product + gradient * z_last.view(-1, 1, 1, 1)).flatten(1)
        if self.last:
            bottom = (gradient * z).flatten(1).sum(1) + z_last
            product = torch.cat([product, bottom.unsqueeze(1)], dim=1)
        return torch.linalg.vector_norm(product, dim=1)
