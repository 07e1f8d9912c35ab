r"""Second-order Taylor approximations of a loss along a line, exact and by finite differences.

:math:`\ell(x + t\eta) \approx \ell + t\, g^T \eta + \tfrac12 t^2\, \eta^T H \eta` with the exact
Hessian-vector product, or with :math:`H \eta \approx \|\eta\| (\nabla \ell(x + h \tilde\eta) -
\nabla \ell(x)) / h`, :math:`\tilde\eta = \eta / \|\eta\|_2`, which measures the curvature over a
step h instead of at a point (Ma, Faghri, Farahmand 2020, arXiv:2004.01832, figures 1 and 4). ReLU
networks have zero curvature at almost every point, so the exact product misses nearly all of it.

`robcert taylor`: errors of second-order approximations of the loss within epsilon.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.local_linearity import finite_tangent
from robcert.certify.model import require_gradients
from robcert.certify.numerics import (
    Loss,
    RandomStart,
    generator,
    per_row,
    steepest,
    sums,
    value_and_gradient,
)
from robcert.certify.store import plain

from .schema import TAYLOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.local_linearity import Tangent
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup, ResultStore


@dataclass(frozen=True, slots=True)
class TaylorCurves:
    """Losses along ``x + t eta``, one row per image.

    Attributes:
        t: positions along the line ``(m,)``, 0 to 1.
        loss: true losses ``(b, m)``.
        exact: approximation with the exact Hessian-vector product ``(b, m)``.
        finite: approximations with finite differences ``(b, n, m)``, one per step h.
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
    tangents: Tangent, eta: Tensor, *, steps: tuple[float, ...], resolution: int = 101
) -> TaylorCurves:
    """Losses and their approximations along ``eta (b, c, h, w)``.

    Args:
        tangents: tangents of the images.
        eta: directions, in pixel units; not all zero.
        steps: h of each finite difference, pixel units in l2.
        resolution: number of positions along the line.
    """
    t = torch.linspace(0, 1, resolution, dtype=tangents.x.dtype, device=tangents.x.device)
    with torch.no_grad():
        loss = torch.stack([tangents.change(eta * place) + tangents.value for place in t], dim=1)
    linear = tangents.value[:, None] + t * tangents.linear_term(eta)[:, None]

    def curve(curvature: Tensor) -> Tensor:
        return linear + 0.5 * t**2 * curvature[:, None]

    finite = [curve(finite_curvature(tangents, eta, step=step)) for step in steps]
    return TaylorCurves(t, loss, curve(exact_curvature(tangents, eta)), torch.stack(finite, dim=1))


def exact_curvature(tangents: Tangent, eta: Tensor) -> Tensor:
    r""":math:`\eta^T \nabla^2 \ell(x) \eta`, ``(b,)``, by differentiating twice."""
    with torch.enable_grad():
        point = tangents.x.detach().requires_grad_()
        loss = _loss(tangents)(point)
        (gradient,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
        slope = (gradient * eta).sum()
        if not slope.requires_grad:  # a loss that is linear in its input
            return torch.zeros_like(tangents.value)
        (product,) = torch.autograd.grad(slope, point, allow_unused=True)
    if product is None:
        return torch.zeros_like(tangents.value)
    return sums(product * eta).detach()


def finite_curvature(tangents: Tangent, eta: Tensor, *, step: float) -> Tensor:
    r""":math:`\eta^T \nabla^2 \ell(x) \eta`, ``(b,)``, by one finite difference of gradients.

    :math:`\|\eta\| \, \eta^T (\nabla \ell(x + h \tilde\eta) - \nabla \ell(x)) / h`
    """
    length = Norm.L2.of(eta)
    unit = eta / per_row(length.clamp_min(torch.finfo(eta.dtype).tiny), eta)
    ahead = value_and_gradient(_loss(tangents), tangents.x + step * unit)[1]
    along = sums((ahead - tangents.gradient) * eta)
    return length * along / step


def finite_gradient_norm(tangents: Tangent, norm: Norm, *, step: float) -> Tensor:
    r"""Dual norms ``(b,)`` of the gradient by one forward difference, as penalties compute them.

    :math:`(\ell(x + h d) - \ell(x)) / h` with d of l2 length 1 along the steepest direction of
    ``norm``; for linf that is :math:`\mathrm{sign}(g) / \sqrt d`, so the difference is multiplied
    by :math:`\sqrt d` (Finlay & Oberman 2019, arXiv:1905.11468, equation 9).
    """
    direction = steepest(norm, tangents.gradient)
    scale = 1.0
    if norm is Norm.LINF:
        scale = tangents.gradient[0].numel() ** 0.5
        direction = direction / scale
    with torch.no_grad():
        change = tangents.change(step * direction)
    return scale * change / step


def second_order_penalties(
    tangents: Tangent, batch: Batch, *, epsilon: float, step: float, directions: int, seed: int
) -> Tensor:
    r"""SOAR's regulariser in many random directions, ``(b, directions)``; one gradient per entry.

    :math:`R = \tfrac12 (d \epsilon^2 + 1) \, \bigl\| \|z\| (\nabla \ell(x + h \tilde z) -
    \nabla \ell(x)) / h + z_1 \nabla \ell(x) \bigr\|_2` with z and z_1 standard normal (Ma et al.,
    equation 11, at the image itself).
    """
    pixels = tangents.gradient[0].numel()
    found = []
    for direction in range(directions):
        draws = [
            torch.randn(
                pixels + 1, generator=generator(seed, "taylor/direction", int(index), direction)
            )
            for index in batch.index
        ]
        z = torch.stack(draws).to(tangents.x)
        length = per_row(z[:, 1:].norm(dim=1), tangents.x)
        unit = z[:, 1:].view_as(tangents.x) / length
        ahead = value_and_gradient(_loss(tangents), tangents.x + step * unit)[1]
        product = length * (ahead - tangents.gradient) / step
        found.append(Norm.L2.of(product + per_row(z[:, 0], tangents.x) * tangents.gradient))
    return 0.5 * (pixels * epsilon**2 + 1) * torch.stack(found, dim=1)


def _loss(tangents: Tangent) -> Callable[[Tensor], Tensor]:
    return lambda point: tangents.loss.of(tangents.classifier.twin_logits(point), tangents.y)


STREAM = "taylor/line"


class Line(StrEnum):
    """Direction along which the loss is evaluated."""

    GRADIENT = "gradient"  # steepest direction in the norm
    RANDOM = "random"  # uniform in the ball


@dataclass(frozen=True, slots=True)
class TaylorSettings:
    """Settings that the rows depend on.

    Attributes:
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        loss: loss that is approximated.
        line: direction of the line.
        steps: h of the finite differences, pixel units in l2.
        resolution: number of positions along the line.
        directions: random directions in which SOAR's regulariser is measured.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    loss: Loss = Loss.CE
    line: Line = Line.GRADIENT
    steps: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 1.0)
    resolution: int = 101
    directions: int = 10

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive("epsilon", self.epsilon)
        require_at_least("steps", len(self.steps), 1)
        for step in self.steps:
            require_positive("step", step)
        require_at_least("resolution", self.resolution, 2)
        require_at_least("directions", self.directions, 1)


@dataclass(frozen=True, slots=True)
class StepError:
    """Errors with one finite-difference step.

    Attributes:
        step: h, pixel units in l2.
        taylor: mean absolute error of the Taylor curve, over images and positions.
        gradient_norm: mean relative error of the gradient norm by one forward difference.
    """

    step: float
    taylor: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class TaylorSummary:
    """Errors of the approximations.

    Attributes:
        n: number of images.
        exact: mean absolute error with the exact Hessian-vector product.
        steps: errors by finite-difference step.
        penalty_one: mean over images of SOAR's regulariser in one random direction.
        penalty_all: the same over all directions.
        penalty_variation: coefficient of variation across directions, mean over images; where it
            is large, one direction is enough for a data set's mean but not for a single image.
    """

    norm: str
    epsilon: float
    loss: str
    line: str
    n: int
    exact: float
    steps: tuple[StepError, ...]
    penalty_one: float
    penalty_all: float
    penalty_variation: float
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return dict(plain(asdict(self)))


def analyse(session: Session, settings: TaylorSettings) -> str:
    """Path of the table with the curves; existing rows are kept.

    Raises:
        TwinUnavailableError: the model has no twin.
    """
    require_gradients(session.classifier)
    group = session.store.group(
        TAYLOR,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}-{settings.line}",
        settings=settings,
        seed=session.seed,
        sizes={"t": settings.resolution, "step": len(settings.steps)},
    )
    session.fill(group, "taylor", lambda batch: _rows(session, batch, settings))
    return group.path


def summarise(store: ResultStore, key: str) -> TaylorSummary:
    """Summary of the Taylor table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    columns = {name: group.column(name, indices) for name in group.columns}
    settings = group.settings
    loss = columns["loss"]
    finite = np.abs(columns["finite"] - loss[:, None]).mean(2)
    slopes = columns["gradient_dual_norm"]
    some = slopes > 0
    relative = np.abs(columns["finite_norm"][some] / slopes[some, None] - 1)
    steps = tuple(
        StepError(step, _mean(finite[:, at]), _mean(relative[:, at]))
        for at, step in enumerate(settings["steps"])
    )
    mean = columns["penalty_mean"]
    return TaylorSummary(
        norm=settings["norm"],
        epsilon=settings["epsilon"],
        loss=settings["loss"],
        line=settings["line"],
        n=len(indices),
        exact=_mean(np.abs(columns["exact"] - loss).mean(1)),
        steps=steps,
        penalty_one=_mean(columns["penalty_first"]),
        penalty_all=_mean(mean),
        penalty_variation=_mean(columns["penalty_sd"][mean > 0] / mean[mean > 0]),
        warnings=(),
        complete=group.complete,
    )


def mean_curves(
    group: AnalysisGroup,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[tuple[str, NDArray[np.float64]]]]:
    """Positions t, mean loss over the images, and name and mean of each approximation."""
    indices = group.indices
    loss = group.column("loss", indices).mean(0)
    finite = group.column("finite", indices).mean(0)
    named = [("exact product", group.column("exact", indices).mean(0))]
    for step, values in zip(group.settings["steps"], finite, strict=True):
        named.append((f"h = {step:g}", values))
    return np.linspace(0, 1, len(loss)), loss, named


def _rows(session: Session, batch: Batch, settings: TaylorSettings) -> Columns:
    norm = Norm(settings.norm)
    tangents = finite_tangent(session.classifier, batch.x, batch.y, Loss(settings.loss))
    eta = _direction(tangents, batch, settings, session.seed)
    curves = taylor_curves(tangents, eta, steps=settings.steps, resolution=settings.resolution)
    norms = [finite_gradient_norm(tangents, norm, step=step) for step in settings.steps]
    penalties = second_order_penalties(
        tangents,
        batch,
        epsilon=settings.epsilon,
        step=0.01,
        directions=settings.directions,
        seed=session.seed,
    )
    columns = {
        "loss": curves.loss,
        "exact": curves.exact,
        "finite": curves.finite,
        "gradient_dual_norm": norm.dual.of(tangents.gradient),
        "finite_norm": torch.stack(norms, 1),
        "penalty_first": penalties[:, 0],
        "penalty_mean": penalties.mean(1),
        "penalty_sd": penalties.std(1, correction=0),
    }
    return {name: values.detach().cpu().numpy() for name, values in columns.items()}


def _direction(tangents: Tangent, batch: Batch, settings: TaylorSettings, seed: int) -> Tensor:
    norm = Norm(settings.norm)
    if settings.line == Line.GRADIENT:
        return settings.epsilon * steepest(norm, tangents.gradient)
    return RandomStart(seed, STREAM).draw(batch.index, tangents.x, Ball(norm, settings.epsilon))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
