"""`robcert taylor`: how well second-order approximations of the loss hold within epsilon."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..ascent import random_start, steepest
from ..core import Norm
from ..errors import require_at_least, require_positive
from ..linearity import tangent
from ..objectives import Loss
from ..results_json import plain
from ..schema import TAYLOR
from ..taylor import finite_gradient_norm, second_order_penalties, taylor_curves
from .linearity import require_gradients

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..core import Batch
    from ..linearity import Tangent
    from ..session import Rows, Session
    from ..store import ResultStore
    from ..store_group import AnalysisGroup

STREAM = "taylor/line"


class Line(StrEnum):
    """Along which direction the loss is looked at."""

    GRADIENT = "gradient"  # the steepest one of the norm
    RANDOM = "random"  # uniform in the ball


@dataclass(frozen=True, slots=True)
class TaylorSettings:
    """Everything that changes a row.

    Attributes:
        norm: norm of the ball.
        epsilon: its radius, pixel units.
        loss: which loss.
        line: which direction.
        steps: h of the finite differences, pixel units in l2.
        resolution: places along the line.
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
    """What a finite-difference step does.

    Attributes:
        step: h, pixel units in l2.
        taylor: mean absolute error of the Taylor curve, over images and places.
        gradient_norm: mean relative error of the gradient norm by one forward difference.
    """

    step: float
    taylor: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class TaylorSummary:
    """How well the approximations hold.

    Attributes:
        n: images.
        exact: mean absolute error with the exact Hessian-vector product.
        steps: errors by finite-difference step.
        penalty_one: mean over images of SOAR's regulariser in one random direction.
        penalty_all: the same over all directions.
        penalty_variation: mean over images of standard deviation over mean across directions:
            one direction serves a data set's mean, not an image.
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
        """The same as plain JSON."""
        return dict(plain(asdict(self)))


def analyse(session: Session, settings: TaylorSettings) -> str:
    """Path of the table with the curves; rows that are there are kept.

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
    """Places t, mean loss over the images, and each approximation's name and mean."""
    indices = group.indices
    loss = group.column("loss", indices).mean(0)
    finite = group.column("finite", indices).mean(0)
    named = [("exact product", group.column("exact", indices).mean(0))]
    for step, values in zip(group.settings["steps"], finite, strict=True):
        named.append((f"h = {step:g}", values))
    return np.linspace(0, 1, len(loss)), loss, named


def _rows(session: Session, batch: Batch, settings: TaylorSettings) -> Rows:
    norm = Norm(settings.norm)
    plane = tangent(session.classifier, batch.x, batch.y, Loss(settings.loss))
    eta = _direction(plane, batch, settings, session.seed)
    curves = taylor_curves(plane, eta, steps=settings.steps, resolution=settings.resolution)
    norms = [finite_gradient_norm(plane, norm, step=step) for step in settings.steps]
    penalties = second_order_penalties(
        plane,
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
        "gradient_dual_norm": norm.dual.of(plane.gradient),
        "finite_norm": torch.stack(norms, 1),
        "penalty_first": penalties[:, 0],
        "penalty_mean": penalties.mean(1),
        "penalty_sd": penalties.std(1, correction=0),
    }
    return {name: values.detach().cpu().numpy() for name, values in columns.items()}


def _direction(plane: Tangent, batch: Batch, settings: TaylorSettings, seed: int) -> Tensor:
    norm = Norm(settings.norm)
    if settings.line == Line.GRADIENT:
        return settings.epsilon * steepest(norm, plane.gradient)
    return random_start(
        batch.index, plane.x, norm=norm, epsilon=settings.epsilon, seed=seed, stream=STREAM
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
