"""Settings of `robcert bounds` and their cost."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from robcert.certify.core import Norm
from robcert.certify.errors import (
    InvalidParameterError,
    require_at_least,
    require_open_unit,
    require_positive,
)
from robcert.certify.numerics import Loss, TopMargin
from robcert.certify.stats import LEAST_BLOCKS, Method

from .clever import BLOCK_SIZE
from .excess import ExcessSearch
from .radii import epsilon_grid, sample_blocks
from .residuals import ResidualSearch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robcert.certify.core import Profile
    from robcert.certify.data import ImageSet
    from robcert.certify.numerics import ImageLoss


SEARCH = 2
"""Number of the searches: it rises when equal settings would find other values than before."""


ENDPOINT_LIMIT = 2
"""Number of the upper limit of an endpoint, likewise."""


class Margin(StrEnum):
    """Scores whose margin is bounded."""

    LOGIT = "logit"
    PROBABILITY = "prob"

    def loss(self, top_k: int = 1) -> ImageLoss:
        """The margin as a loss, negative where y is among the ``top_k`` largest."""
        if top_k > 1:
            return TopMargin(top_k, probability=self is Margin.PROBABILITY)
        return Loss.MARGIN if self is Margin.LOGIT else Loss.PROBABILITY_MARGIN


class Region(StrEnum):
    """Where gradients are sampled."""

    DATA = "data"  # at the images themselves
    BALL = "ball"  # in the ball of the largest epsilon around each image


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """The part of the settings that the sampled rows depend on; see `BoundsSettings`."""

    norm: Norm
    epsilon: float
    margin: Margin
    blocks: int
    block_size: int
    region: Region
    points: int
    steps: int
    restarts: int
    top_k: int
    curvature_steps: int
    rho_steps: int

    def stored(self) -> dict[str, Any]:
        """The settings as results files hold them, with the number of the searches."""
        return _numbered(self)


@dataclass(frozen=True, slots=True)
class BoundsSettings:
    """Settings that the rows depend on.

    Attributes:
        norm: norm of the radii.
        epsilon: radius in the middle of the grid of omega, pixel units.
        margin: margin of logits (the same at any temperature) or of probabilities (the papers').
        blocks: disjoint blocks of images that L and omega are fitted on.
        block_size: images per block.
        exceedance: probability that a block maximum exceeds the reported quantile.
        level: confidence level of its upper limit.
        evt: how the supremum is estimated from the block maxima.
        region: where the gradients for L are sampled.
        points: radii of the grid of omega, from epsilon / 8 to 2 epsilon; with 5, 9 or 13
            points epsilon is one of them; a bound uses omega at the next larger point.
        steps: gradient steps of an ascent to the end, for a residual or a gradient norm.
        restarts: random initial perturbations of a search for a gradient norm; other searches are
            repeated once for every two.
        top_k: an image counts as correct if y is among this many top classes.
        curvature_steps: products with the Hessian for the curvature bound, in l2; 0 for none.
        clever_blocks: blocks of random points around each reported image, for its own L within the
            largest radius of the grid, at least the 30 that a fit takes; 0 for none.
        rho_steps: gradient steps of each ascent for an excess over the steepest tangent.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    margin: Margin = Margin.LOGIT
    blocks: int = 100
    block_size: int = 100
    exceedance: float = 0.001
    level: float = 0.95
    evt: Method = Method.GEV
    region: Region = Region.DATA
    points: int = 9
    steps: int = 20
    restarts: int = 2
    top_k: int = 1
    curvature_steps: int = 12
    clever_blocks: int = 0
    rho_steps: int = 12

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; fields that it does not change keep their defaults."""
        changed = {
            "quick": cls(blocks=30, block_size=10, points=5, steps=8, restarts=1, rho_steps=8),
            "thorough": cls(steps=40, restarts=4, rho_steps=40),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive("epsilon", self.epsilon)
        require_open_unit("exceedance", self.exceedance)
        require_open_unit("level", self.level)
        for name in ("blocks", "block_size", "points", "steps", "restarts", "top_k", "rho_steps"):
            require_at_least(name, getattr(self, name), 1)
        require_at_least("curvature_steps", self.curvature_steps, 0)
        if self.clever_blocks:
            require_at_least("clever_blocks (unless 0)", self.clever_blocks, LEAST_BLOCKS)

    def stored(self) -> dict[str, Any]:
        """The settings as results files hold them, with the numbers of searches and limits."""
        ends = self.clever_blocks or self.evt is Method.REVERSE_WEIBULL
        return _numbered(self) | ({"endpoint_limit": ENDPOINT_LIMIT} if ends else {})

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Grid of omega, pixel units."""
        return epsilon_grid(self.epsilon, self.points)

    @property
    def sampling(self) -> SamplingSettings:
        """Settings that the sampled rows depend on; the others only change the fit."""
        names = (field.name for field in fields(SamplingSettings))
        return SamplingSettings(**{name: getattr(self, name) for name in names})

    def blocks_of(self, images: ImageSet, seed: int) -> NDArray[np.int64]:
        """Positions of the sampled images ``(blocks, size)``."""
        return sample_blocks(
            len(images),
            blocks=self.blocks,
            block_size=self.block_size,
            seed=seed,
            data_sha256=images.sha256,
        )

    @property
    def loss(self) -> ImageLoss:
        """The bounded margin as a loss."""
        return Margin(self.margin).loss(self.top_k)

    @property
    def curved(self) -> bool:
        """Whether the curvature bound is computed; it exists in l2 only."""
        return self.norm == Norm.L2 and self.curvature_steps > 0

    @property
    def prefix(self) -> str:
        """Readable part of the table's key."""
        ranked = f"-top{self.top_k}" if self.top_k > 1 else ""
        return f"{self.norm}-{self.epsilon:.4g}-{self.margin}{ranked}"

    @property
    def rounds(self) -> int:
        """How often the searches for residuals and excesses are repeated."""
        return max(1, self.restarts // 2)

    def search(self, seed: int) -> ResidualSearch:
        """Configuration of the search for residuals."""
        return ResidualSearch(
            Norm(self.norm), self.epsilons, self.steps, seed, repeats=self.rounds > 1
        )

    def excess_search(self, seed: int) -> ExcessSearch:
        """Configuration of the search for excesses."""
        climbed = Margin.LOGIT.loss(self.top_k)
        return ExcessSearch(
            norm=Norm(self.norm),
            epsilons=self.epsilons,
            climbed=climbed,
            steps=self.rho_steps,
            rounds=self.rounds,
            seed=seed,
            targeted=self.top_k == 1,
        )

    def require_fit(self, num_classes: int) -> None:
        """Raise an InvalidParameterError unless top_k is below ``num_classes``."""
        if self.top_k >= num_classes:
            message = f"top_k must be below the number of classes ({num_classes}), got {self.top_k}"
            raise InvalidParameterError(message)

    def gradient_passes(self, n_sampled: int, n_reported: int, n_apart: int = 0) -> int:
        """Largest number of gradients for sampling and reporting, as if no row were in the file.

        A Hessian-vector product counts as two.

        Args:
            n_sampled: images that L and omega are fitted on.
            n_reported: images reported on.
            n_apart: those of them that are not in the sample and need their own residuals.
        """
        search = self.search(0).n_gradients + self.excess_search(0).n_gradients
        ball = 2 * self.steps * self.restarts if self.region == Region.BALL else 0
        curvature = 2 * self.curvature_steps if self.curved else 0
        own = 1 + self.clever_blocks * BLOCK_SIZE
        return n_sampled * (1 + search + ball + curvature) + n_reported * own + n_apart * search


def _numbered(settings: BoundsSettings | SamplingSettings) -> dict[str, Any]:
    values = {item.name: getattr(settings, item.name) for item in fields(settings)}
    return {**values, "search": SEARCH}
