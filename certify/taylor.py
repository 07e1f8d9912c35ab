r"""Second-order Taylor approximations of a loss along a line, exact and by finite differences.

:math:`\ell(x + t\eta) \approx \ell + t\, g^T \eta + \tfrac12 t^2\, \eta^T H \eta` with the exact
Hessian-vector product, or with :math:`H \eta \approx \|\eta\| (\nabla \ell(x + h \tilde\eta) -
\nabla \ell(x)) / h`, :math:`\tilde\eta = \eta / \|\eta\|_2`, which sees the curvature over a step
h instead of at a point (Ma, Faghri, Farahmand 2020, arXiv:2004.01832, figures 1 and 4). Networks
of ReLU have no curvature at a point at all, so there the exact product misses nearly everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .ascent import steepest
from .core import Norm
from .gradients import value_and_gradient
from .projections import per_row
from .sampling import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .core import Batch
    from .linearity import Tangent


@dataclass(frozen=True, slots=True)
class TaylorCurves:
    """Losses along ``x + t eta``, one row an image.

    Attributes:
        t: places along the line ``(m,)``, 0 to 1.
        loss: true losses ``(b, m)``.
        exact: approximation with the exact Hessian-vector product ``(b, m)``.
        finite: approximations with finite differences ``(b, n, m)``, one a step.
    """

    t: Tensor
    loss: Tensor
    exact: Tensor
    finite: Tensor

    def errors(self) -> Tensor:
        """Mean absolute errors over t, ``(b, 1 + n)``: exact product first, then each step."""
        curves = torch.cat([self.exact[:, None], self.finite], dim=1)
        return (curves - self.loss[:, None]).abs().mean(2)


def taylor_curves(
    plane: Tangent, eta: Tensor, *, steps: tuple[float, ...], resolution: int = 101
) -> TaylorCurves:
    """Losses and their approximations along ``eta (b, c, h, w)``.

    Args:
        plane: tangents of the images.
        eta: directions, in pixel units; not all zero.
        steps: h of each finite difference, pixel units in l2.
        resolution: places along the line.
    """
    t = torch.linspace(0, 1, resolution, dtype=plane.x.dtype, device=plane.x.device)
    with torch.no_grad():
        loss = torch.stack([plane.change(eta * place) + plane.value for place in t], dim=1)
    linear = plane.value[:, None] + t * plane.linear_term(eta)[:, None]

    def curve(curvature: Tensor) -> Tensor:
        return linear + 0.5 * t**2 * curvature[:, None]

    finite = [curve(finite_curvature(plane, eta, step=step)) for step in steps]
    return TaylorCurves(t, loss, curve(exact_curvature(plane, eta)), torch.stack(finite, dim=1))


def exact_curvature(plane: Tangent, eta: Tensor) -> Tensor:
    r""":math:`\eta^T \nabla^2 \ell(x) \eta`, ``(b,)``, by differentiating twice."""
    with torch.enable_grad():
        point = plane.x.detach().requires_grad_()
        loss = _loss(plane)(point)
        (gradient,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
        slope = (gradient * eta).sum()
        if not slope.requires_grad:  # a loss that is linear in its input
            return torch.zeros_like(plane.value)
        (product,) = torch.autograd.grad(slope, point, allow_unused=True)
    if product is None:
        return torch.zeros_like(plane.value)
    return (product * eta).flatten(1).sum(1).detach()


def finite_curvature(plane: Tangent, eta: Tensor, *, step: float) -> Tensor:
    r"""The same by one difference of gradients over ``step``, ``(b,)``.

    :math:`\|\eta\| \, \eta^T (\nabla \ell(x + h \tilde\eta) - \nabla \ell(x)) / h`
    """
    length = Norm.L2.of(eta)
    unit = eta / per_row(length.clamp_min(torch.finfo(eta.dtype).tiny), eta)
    ahead = value_and_gradient(_loss(plane), plane.x + step * unit)[1]
    along = ((ahead - plane.gradient) * eta).flatten(1).sum(1)
    return length * along / step


def finite_gradient_norm(plane: Tangent, norm: Norm, *, step: float) -> Tensor:
    r"""Dual norms ``(b,)`` by one forward difference, as a finite-difference penalty sees them.

    :math:`(\ell(x + h d) - \ell(x)) / h` with d of l2 length 1 along the steepest direction of
    ``norm``; for linf that is :math:`\mathrm{sign}(g) / \sqrt d`, so the difference is multiplied
    by :math:`\sqrt d` (Finlay & Oberman 2019, arXiv:1905.11468, equation 9).
    """
    direction = steepest(norm, plane.gradient)
    scale = 1.0
    if norm is Norm.LINF:
        scale = plane.gradient[0].numel() ** 0.5
        direction = direction / scale
    with torch.no_grad():
        change = plane.change(step * direction)
    return scale * change / step


def second_order_penalties(
    plane: Tangent, batch: Batch, *, epsilon: float, step: float, directions: int, seed: int
) -> Tensor:
    r"""SOAR's regulariser in many random directions, ``(b, directions)``; one gradient each.

    :math:`R = \tfrac12 (d \epsilon^2 + 1) \, \bigl\| \|z\| (\nabla \ell(x + h \tilde z) -
    \nabla \ell(x)) / h + z_1 \nabla \ell(x) \bigr\|_2` with z and z_1 standard normal (Ma et al.,
    equation 11, at the image itself).
    """
    pixels = plane.gradient[0].numel()
    found = []
    for direction in range(directions):
        draws = [
            torch.randn(
                pixels + 1, generator=generator(seed, "taylor/direction", int(index), direction)
            )
            for index in batch.index
        ]
        z = torch.stack(draws).to(plane.x)
        length = per_row(z[:, 1:].norm(dim=1), plane.x)
        unit = z[:, 1:].view_as(plane.x) / length
        ahead = value_and_gradient(_loss(plane), plane.x + step * unit)[1]
        product = length * (ahead - plane.gradient) / step
        found.append(Norm.L2.of(product + per_row(z[:, 0], plane.x) * plane.gradient))
    return 0.5 * (pixels * epsilon**2 + 1) * torch.stack(found, dim=1)


def _loss(plane: Tangent) -> Callable[[Tensor], Tensor]:
    return lambda point: plane.loss.of(plane.classifier.twin_logits(point), plane.y)
