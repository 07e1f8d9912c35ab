r"""The largest one-sided residuals of a loss within each radius of a grid, per image.

The residual at v is :math:`\ell(x + v) - \ell(x) - \langle v, \nabla \ell(x) \rangle`; its largest
value within :math:`\epsilon` of one image is :math:`\gamma^+(\epsilon, x)`, over all images
:math:`\omega(\epsilon)` (Finlay & Oberman 2019, arXiv:1905.11468, equation 5). Found by ascent, so
these are lower estimates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from robcert.certify.core import Ball
from robcert.certify.local_linearity import MANY_STARTS, Multistart, Plan, Sided, Stage
from robcert.certify.numerics import RandomStart

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.local_linearity import Deviation, Tangent

    from .excess import Excesses

Array = NDArray[np.float64]

FEW_STARTS = Plan(
    targets=0,
    stages=(Stage(None, 0.1, 2.0, 0.5), Stage(2, 0.2, 1.0, 0.3), Stage(1, 1.0, 0.6, 0.01)),
)
"""The search at one radius, which knows the ends of attacks and of the radius before."""

KNOWN = 2
"""Largest number of starts that a search at one radius knows."""

RANDOM_STARTS = 4
"""Random starts at each radius."""


@dataclass(frozen=True, slots=True)
class ResidualSearch:
    """How residuals are searched for, without the pixel box.

    At each radius short ascents start along the gradient, against it, at the best perturbation of
    the previous radius, scaled, at that of the search for excesses, and at random points; the best
    continue (see `Multistart`). A residual is often largest against the gradient, where the tangent
    falls, or at an adversarial image, and an ascent from one random point misses both.

    Attributes:
        norm: norm of the balls.
        epsilons: their radii, ascending, pixel units.
        steps: gradient steps of an ascent to the end.
        seed: of the random points.
        repeats: whether ascents are repeated while that raises the residual.
    """

    norm: Norm
    epsilons: tuple[float, ...]
    steps: int
    seed: int
    repeats: bool = False

    @property
    def n_gradients(self) -> int:
        """Gradients per image with the excesses known, besides that of the tangent, at most."""
        known = KNOWN * self._ascents.steps_of(FEW_STARTS.stages[0])
        return len(self.epsilons) * (self._ascents.n_gradients + known)

    @property
    def _ascents(self) -> Multistart:
        plan = replace(FEW_STARTS, repeats=MANY_STARTS.repeats) if self.repeats else FEW_STARTS
        return Multistart(self.norm, Sided.UPPER, self.steps, RANDOM_STARTS, box=False, plan=plan)

    def at(
        self, position: int, tangents: Tangent, batch: Batch, starts: tuple[Tensor, ...]
    ) -> Deviation:
        """Largest deviations within the radius at ``position`` of the grid.

        Args:
            position: position of the radius in the grid.
            tangents: tangents of the images.
            batch: the images' positions in the data set, which seed their random points.
            starts: perturbations from which the search starts too.
        """
        return self._ascents.largest(
            tangents,
            batch,
            epsilon=self.epsilons[position],
            seed=self.seed,
            stream=stream_name(position),
            known=starts,
        )

    def scaled(self, position: int, before: Tensor) -> Tensor:
        """Perturbations ``before`` of the previous radius, scaled to the one at ``position``."""
        return before * (self.epsilons[position] / self.epsilons[position - 1])


@dataclass(frozen=True, slots=True)
class Residuals:
    r"""Largest one-sided residuals of images within each radius of a grid of m, ``(b, m)``.

    Attributes:
        found: by ascent; rows are non-decreasing, because smaller radii are included.
        random: at one uniformly random point of the ball, to show what ascent adds.
        floor: size below which they may be rounding ``(b,)``.
    """

    found: Tensor
    random: Tensor
    floor: Tensor


def stream_name(position: int) -> str:
    """Name of the random stream at ``position`` of the grid."""
    return f"bounds/omega/{position}"


def largest_residuals(
    tangents: Tangent, batch: Batch, search: ResidualSearch, excesses: Excesses | None = None
) -> Residuals:
    """Largest residuals that the search finds at every radius, none below a known excess.

    Args:
        tangents: of the images.
        batch: the images.
        search: configuration of the search.
        excesses: of the images, whose perturbations are starts. At any perturbation the residual is
            at least the excess.
    """
    found, random = [], []
    floor = torch.zeros_like(tangents.value)
    before: Tensor | None = None
    for position, epsilon in enumerate(search.epsilons):
        starts = _starts(search, position, before, excesses)
        best = search.at(position, tangents, batch, starts)
        before = best.delta
        found.append(_at_least(best.value, excesses, position))
        floor = torch.maximum(floor, tangents.floor(best.delta))
        start = RandomStart(search.seed, stream_name(position), block=-1)
        point = start.draw(batch.index, tangents.x, Ball(search.norm, epsilon))
        with torch.no_grad():
            random.append(tangents.residual(point).clamp_min(0))
    growing = torch.stack(found, 1).cummax(1).values
    return Residuals(growing, torch.stack(random, 1), floor)


def residuals_while_undecided(
    tangents: Tangent,
    batch: Batch,
    search: ResidualSearch,
    *,
    gap: Array,
    slope: Array,
    excesses: Excesses | None = None,
) -> Array:
    r"""The same residuals ``(b, m)``, but NaN where an image's radius no longer depends on them.

    Once :math:`gap < \gamma^+(\epsilon_j, x) + \epsilon_j G`, larger grid radii cannot enlarge the
    image's radius, because :math:`\gamma^+` is non-decreasing, and the image leaves the search. See
    `radii.omega_bound`.

    Args:
        tangents: of the images.
        batch: the images.
        search: configuration of the search.
        gap: :math:`-\ell(x)`, ``(b,)``; images without a gap need no residual.
        slope: dual norms G of the gradients ``(b,)``.
        excesses: of the images, as in `largest_residuals`.
    """
    found = np.full((len(batch), len(search.epsilons)), np.nan)
    active = np.flatnonzero(gap > 0)
    before: Tensor | None = None
    for position, epsilon in enumerate(search.epsilons):
        if not len(active):
            break
        known = excesses and excesses.part(active)
        starts = _starts(search, position, before, known)
        best = search.at(position, tangents.part(active), batch.part(active), starts)
        value = _at_least(best.value, known, position).double().cpu().numpy()
        if position:
            value = np.maximum(value, found[active, position - 1])
        found[active, position] = value
        open_ = gap[active] >= value + epsilon * slope[active]
        active = active[open_]
        before = best.delta[np.flatnonzero(open_)]
    return found


def _starts(
    search: ResidualSearch, position: int, before: Tensor | None, excesses: Excesses | None
) -> tuple[Tensor, ...]:
    """What is known of good perturbations at the radius at ``position`` of the grid."""
    seen = () if excesses is None else (excesses.deltas[position],)
    return seen if before is None else (*seen, search.scaled(position, before))


def _at_least(value: Tensor, excesses: Excesses | None, position: int) -> Tensor:
    return value if excesses is None else torch.maximum(value, excesses.found[:, position])


def forget_decided(found: Array, *, gap: Array, slope: Array, epsilons: tuple[float, ...]) -> Array:
    """Residuals ``(n, m)`` of a full search, NaN where `residuals_while_undecided` has NaN."""
    open_ = gap[:, None] >= found + np.asarray(epsilons) * slope[:, None]
    before = np.ones_like(open_)
    before[:, 1:] = np.logical_and.accumulate(open_, axis=1)[:, :-1]
    return np.where(before & (gap > 0)[:, None], found, np.nan)
