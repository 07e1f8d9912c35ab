"""`robcert surface`: the loss and the classes in a plane through an image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import Kind, Norm
from ..errors import InvalidParameterError, require_at_least, require_positive
from ..results_json import plain
from ..schema import SURFACE
from ..surface import Surface, surface
from .linearity import require_gradients

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core import Batch
    from ..session import Rows, Session
    from ..store import ResultStore
    from ..store_group import AnalysisGroup

MOST_POINTS = 1001
"""Along a side; no picture shows more."""


@dataclass(frozen=True, slots=True)
class SurfaceSettings:
    """Everything that changes a row.

    Attributes:
        norm: norm in which both directions have length epsilon.
        epsilon: half the side of the square, pixel units.
        resolution: points along a side.
        steps: of the attack whose direction is one axis.
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
    """One image.

    Attributes:
        index: its position in the data set.
        cross_entropy: at the image.
        largest_cross_entropy: on the grid.
        turns: changes between rise and fall of the cross-entropy along the adversarial axis, mean
            over the grid's lines: 0 to 2 for a smooth surface, many for a jagged one.
        lost: share of the grid that is not of class y.
    """

    index: int
    cross_entropy: float
    largest_cross_entropy: float
    turns: float
    lost: float


@dataclass(frozen=True, slots=True)
class SurfaceSummary:
    """What the surfaces look like, image by image."""

    norm: str
    epsilon: float
    resolution: int
    images: tuple[SurfaceRow, ...]
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
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
        session.fill(group, "surface", lambda batch: _row(session, group, batch, settings))
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
    """Changes between rise and fall along the first axis of ``loss (m, m)``, mean over lines.

    Steps below a thousandth of the range count as neither.
    """
    found = 0
    for line in loss.T:
        steps = np.diff(line)
        signs = np.sign(steps[np.abs(steps) > 1e-3 * np.ptp(loss)])
        found += int((np.diff(signs) != 0).sum())
    return found / loss.shape[1]


def _row(session: Session, group: AnalysisGroup, batch: Batch, settings: SurfaceSettings) -> Rows:
    found = surface(
        session.classifier,
        batch,
        norm=Norm(settings.norm),
        epsilon=settings.epsilon,
        resolution=settings.resolution,
        steps=settings.steps,
        seed=session.seed,
    )
    _save(group, int(batch.index[0]), found)
    loss = found.cross_entropy.double().cpu().numpy()
    middle = settings.resolution // 2
    return {
        "cross_entropy": loss[middle, middle][None],
        "largest_cross_entropy": np.array([loss.max()]),
        "turns": np.array([turns(loss)]),
        "lost": (found.margin >= 0).double().mean()[None].cpu().numpy(),
    }


def _save(group: AnalysisGroup, index: int, found: Surface) -> None:
    arrays = {
        "offsets": (found.offsets, "places along both directions, in units of them", ""),
        "u": (found.u, "adversarial direction", "pixel"),
        "v": (found.v, "random direction", "pixel"),
        "cross_entropy": (found.cross_entropy, "cross-entropy, first axis along u", "nat"),
        "margin": (found.margin, "margin loss of logits, below 0 where the class is y", "logit"),
        "prediction": (found.prediction, "class", "class"),
    }
    for name, (values, doc, units) in arrays.items():
        array = values.cpu().numpy()
        group.save_array(f"{index}/{name}", array, kind=Kind.MEASURED, doc=doc, units=units)
