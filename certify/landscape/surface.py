r"""The loss in a plane through an image, spanned by an adversarial and a random direction.

:math:`\ell(x + a u + b v)` on a grid (Qin et al. 2019, arXiv:1907.02610, figures 1, 4 and A1): u
is a perturbation found by gradient ascent, v consists of random signs. A smooth bowl means that the
gradient is informative; a jagged surface with peaks away from the gradient indicates masking.

`robcert surface`: the loss and the classes in a plane through an image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify.core import Ball, Kind, Norm
from robcert.certify.errors import InvalidParameterError, require_at_least, require_positive
from robcert.certify.model import require_gradients
from robcert.certify.numerics import (
    AscentConfig,
    Direction,
    Loss,
    RandomStart,
    StepRule,
    classes_of,
    cross_entropy,
    generator,
    margin_loss,
    maximise,
)
from robcert.certify.store import plain

from .schema import SURFACE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup, ResultStore


ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Surface:
    """Losses and classes in a plane through one image.

    Attributes:
        offsets: a and b ``(m,)``, -1 to 1 in units of the directions.
        u: adversarial direction ``(c, h, w)``, pixel units.
        v: random direction ``(c, h, w)`` of the same norm.
        cross_entropy: ``(m, m)``, first axis along u.
        margin: margin loss of the logits ``(m, m)``; below 0 where the class is y.
        prediction: predicted classes ``(m, m)``.
    """

    offsets: Tensor
    u: Tensor
    v: Tensor
    cross_entropy: Tensor
    margin: Tensor
    prediction: Tensor


def loss_surface(
    classifier: Classifier, batch: Batch, settings: SurfaceSettings, *, seed: int
) -> Surface:
    """Surface around the one image of ``batch`` on a square of side 2 epsilon.

    Points outside the pixel box are evaluated too.

    Args:
        classifier: model; the runtime computes the losses on the grid.
        batch: one image.
        settings: the square and the ascent that finds u.
        seed: seed of the random direction and of the ascent's initial perturbation.
    """
    norm, epsilon, resolution = settings.norm, settings.epsilon, settings.resolution
    u = _adversarial(classifier, batch, settings, seed=seed)
    stream = generator(seed, "surface/direction", int(batch.index[0]))
    signs = torch.rand(u.shape, generator=stream).lt(0.5).to(u) * 2 - 1
    v = signs * (epsilon / norm.of(signs[None])).to(u)
    offsets = torch.linspace(-1, 1, resolution, dtype=u.dtype)
    shifts = torch.cartesian_prod(offsets, offsets)
    values = []
    for part in torch.split(shifts, ROWS_AT_ONCE):
        a, b = part.to(u.device).T[:, :, None, None, None]
        logits = classifier.logits(batch.x + a * u + b * v)
        y = batch.y.expand(len(part))
        numbers = (cross_entropy(logits, y), margin_loss(logits, y), classes_of(logits).to(logits))
        values.append(torch.stack(numbers))
    grid = torch.cat(values, dim=1).view(3, resolution, resolution)
    return Surface(offsets, u, v, grid[0], grid[1], grid[2].long())


def _adversarial(
    classifier: Classifier, batch: Batch, settings: SurfaceSettings, *, seed: int
) -> Tensor:
    """Perturbation ``(c, h, w)`` of length epsilon along the highest loss that PGD found."""
    ball, steps = Ball(settings.norm, settings.epsilon), settings.steps
    rule = StepRule(Direction.steepest(ball.norm), 0.25, relative=True, drops=((steps // 2, 0.4),))
    start = RandomStart(seed, "surface/attack").draw(batch.index, batch.x, ball)
    found = maximise(
        lambda delta: Loss.MARGIN.of(classifier.twin_logits(batch.x + delta), batch.y),
        batch.x,
        ball,
        AscentConfig(steps, rule),
        initial_perturbation=start,
    )
    delta = found.best_delta
    return (delta * (ball.epsilon / ball.norm.of(delta).clamp_min(1e-12)))[0]


MOST_POINTS = 1001
"""Largest number of grid points per side; a figure shows no more."""


@dataclass(frozen=True, slots=True)
class SurfaceSettings:
    """Settings that the rows depend on.

    Attributes:
        norm: norm in which both directions have length epsilon.
        epsilon: half the side of the square, pixel units.
        resolution: grid points per side.
        steps: steps of the attack whose direction is one axis.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    resolution: int = 41
    steps: int = 50

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive("epsilon", self.epsilon)
        require_at_least("resolution", self.resolution, 3)
        if self.resolution > MOST_POINTS:
            message = f"resolution must be at most {MOST_POINTS}, got {self.resolution}"
            raise InvalidParameterError(message)
        require_at_least("steps", self.steps, 1)


@dataclass(frozen=True, slots=True)
class SurfaceRow:
    """Surface of one image in numbers.

    Attributes:
        index: position of the image in the data set.
        cross_entropy: cross-entropy at the image.
        largest_cross_entropy: largest cross-entropy on the grid.
        turns: turning points of the cross-entropy along the adversarial axis, mean over the grid's
            lines: 0 to 2 for a smooth surface, many for a jagged one.
        lost: share of grid points that are not classified as y.
    """

    index: int
    cross_entropy: float
    largest_cross_entropy: float
    turns: float
    lost: float


@dataclass(frozen=True, slots=True)
class SurfaceSummary:
    """Numbers that describe the surface of each image."""

    norm: str
    epsilon: float
    resolution: int
    images: tuple[SurfaceRow, ...]
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return dict(plain(asdict(self)))


def analyse(session: Session, settings: SurfaceSettings) -> str:
    """Path of the group with the surfaces of the session's images.

    Raises:
        TwinUnavailableError: the model has no twin.
    """
    require_gradients(session.classifier)
    group = session.store.group(
        SURFACE,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}",
        settings=settings,
        seed=session.seed,
    )
    batch_size, session.batch_size = session.batch_size, 1
    try:
        session.fill(
            group,
            "surface",
            lambda batch: _row(session, batch, settings),
            keep=lambda indices, columns: _save(group, int(indices[0]), columns),
        )
    finally:
        session.batch_size = batch_size
    return group.path


def summarise(store: ResultStore, key: str) -> SurfaceSummary:
    """Summary of the surfaces at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    names = ("cross_entropy", "largest_cross_entropy", "turns", "lost")
    columns = [group.column(name, indices).tolist() for name in names]
    settings = group.settings
    return SurfaceSummary(
        norm=settings["norm"],
        epsilon=settings["epsilon"],
        resolution=settings["resolution"],
        images=tuple(map(SurfaceRow, indices.tolist(), *columns)),
        warnings=(),
        complete=group.complete,
    )


def grids(group: AnalysisGroup, index: int) -> dict[str, NDArray[Any]]:
    """Arrays of the surface of the image ``index``, by name; grids ``(m, m)``."""
    names = ("cross_entropy", "margin", "prediction", "offsets")
    return {name: group.array(f"{index}/{name}") for name in names}


def turns(loss: NDArray[np.float64]) -> float:
    """Number of turning points along the first axis of ``loss (m, m)``, mean over lines.

    Steps below a thousandth of the range count neither as rise nor as fall.
    """
    found = 0
    for line in loss.T:
        steps = np.diff(line)
        signs = np.sign(steps[np.abs(steps) > 1e-3 * np.ptp(loss)])
        found += int((np.diff(signs) != 0).sum())
    return found / loss.shape[1]


def _row(session: Session, batch: Batch, settings: SurfaceSettings) -> Columns:
    """The numbers of the one image, and its arrays under the names of ``ARRAYS``."""
    found = loss_surface(session.classifier, batch, settings, seed=session.seed)
    loss = found.cross_entropy.double().cpu().numpy()
    middle = settings.resolution // 2
    arrays = {PREFIX + name: getattr(found, name).cpu().numpy()[None] for name in ARRAYS}
    return {
        **arrays,
        "cross_entropy": loss[middle, middle][None],
        "largest_cross_entropy": np.array([loss.max()]),
        "turns": np.array([turns(loss)]),
        "lost": (found.margin >= 0).double().mean()[None].cpu().numpy(),
    }


ARRAYS = {
    "offsets": ("coordinates along u and v, in units of their length", ""),
    "u": ("adversarial direction", "pixel"),
    "v": ("random direction", "pixel"),
    "cross_entropy": ("cross-entropy, first axis along u", "nat"),
    "margin": ("margin loss of logits, below 0 where the class is y", "logit"),
    "prediction": ("class", "class"),
}
"""What is stored of each surface, with description and units."""

PREFIX = "surface/"
"""Beginning of the names of arrays among the columns of an image."""


def _save(group: AnalysisGroup, index: int, columns: Columns) -> Columns:
    """Store the arrays of the image ``index``; the other columns."""
    group.save_arrays(
        {
            f"{index}/{name}": (columns[PREFIX + name][0], Kind.MEASURED, doc, units)
            for name, (doc, units) in ARRAYS.items()
        }
    )
    return {name: values for name, values in columns.items() if not name.startswith(PREFIX)}
