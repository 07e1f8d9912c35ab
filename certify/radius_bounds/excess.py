r"""How far a loss rises above its steepest tangent within each radius of a grid, per image.

The excess at v is :math:`\ell(x + v) - \ell(x) - \|v\| \|\nabla \ell(x)\|_*`. Its largest value
within :math:`\epsilon` of one image, at least 0, is :math:`\rho_x(\epsilon)`; over all images
:math:`\rho(\epsilon) \le \omega(\epsilon)`, because :math:`\langle v, \nabla \ell(x) \rangle \le
\|v\| \|\nabla \ell(x)\|_*`. It is all that the second line of equation 6 of Finlay & Oberman 2019
(arXiv:1905.11468) needs: no image within :math:`\epsilon` has a loss above
:math:`\ell(x) + \epsilon \|\nabla \ell(x)\|_* + \rho_x(\epsilon)`.

For a given length of v the excess is largest where the loss is, so it is searched for as attacks
search for adversarial images. What is found is a lower estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from robcert.certify.core import Ball
from robcert.certify.numerics import (
    AscentConfig,
    Direction,
    RandomStart,
    StepRule,
    maximise,
    per_row,
    steepest,
    targeted_margin,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.local_linearity import Tangent
    from robcert.certify.numerics import ImageLoss

STREAM = "bounds/rho"

OFF_RIDGE = 0.1
"""Share of a random point in a start: the steepest direction may be a ridge, on which gradients
point along it and never off it."""

CANDIDATES = 9
"""Number of other classes that are targets, those with the largest logits."""

LENGTHS = 4
"""Lengths, between the previous radius and this one, at which a perturbation is tried."""

HALVINGS = 8
"""Bisections for the shortest length of a perturbation at which the loss is 0."""

FAR, NEAR = 2.0, 1.0
"""First steps with a target class and without one, in radii."""


@dataclass(frozen=True, slots=True)
class ExcessSearch:
    """How excesses are searched for; balls reach beyond the pixel box.

    At the largest radius the climbed loss is maximised from the steepest direction, and from random
    points the margin to each of the other classes: nets on which an ascent ends in the wrong class
    are common. In every other round, from the first on, the ascents to a class keep to the pixel
    box: on nets whose outputs saturate they then reach classes that they miss without it.

    The best perturbation found for a radius, scaled, is the start at the next smaller one down to
    the smallest radius, and then at the next larger one up to the largest. The excess is taken at
    several lengths of the best perturbation of each radius and where the loss crosses 0 along it.

    Attributes:
        norm: norm of the balls.
        epsilons: their radii, ascending, pixel units.
        climbed: loss whose gradient is followed: the margin of logits, which does not saturate.
        steps: gradient steps from each start.
        rounds: how often all of this is done, each time from new random points.
        seed: of the random points.
        targeted: whether ascents from random points have a target class; else none has.
    """

    norm: Norm
    epsilons: tuple[float, ...]
    climbed: ImageLoss
    steps: int
    rounds: int
    seed: int
    targeted: bool = True

    @property
    def n_gradients(self) -> int:
        """Gradients per image, besides that of the tangent, at most."""
        ascents = 1 + CANDIDATES + 2 * (len(self.epsilons) - 1)
        return self.rounds * ascents * self.steps

    def rule(self, first: float) -> StepRule:
        """Steps of ``first`` radii, halved after each fifth of them."""
        drops = tuple((self.steps * part // 5, 0.5) for part in range(1, 5))
        return StepRule(Direction.steepest(self.norm), first, relative=True, drops=drops)


@dataclass(frozen=True, slots=True)
class Excesses:
    """Largest excesses of images within each radius of a grid of m.

    Attributes:
        found: largest excesses ``(b, m)``, at least 0; rows are non-decreasing.
        deltas: for each radius, the perturbations ``(b, c, h, w)`` of the largest climbed loss.
    """

    found: Tensor
    deltas: tuple[Tensor, ...]

    def part(self, rows: NDArray[np.int64]) -> Excesses:
        """The excesses of the images at ``rows``."""
        return Excesses(self.found[rows], tuple(delta[rows] for delta in self.deltas))


def largest_excesses(tangents: Tangent, batch: Batch, search: ExcessSearch) -> Excesses:
    """Largest excesses that the search finds, and the perturbations of the largest climbed loss."""
    ascents = _Ascents(tangents, batch, search, _targets(tangents, search))
    last = len(search.epsilons) - 1
    for number in range(search.rounds):
        ascents.at_largest_radius(number)
        for position in range(last - 1, -1, -1):
            ascents.near(position, onward=position - 1, name=f"{number}/down")
        for position in range(1, last + 1):
            ascents.near(position, onward=position + 1, name=f"{number}/up")
    found, before = [], 0.0
    for epsilon, delta in zip(search.epsilons, ascents.best, strict=True):
        over = _excess_along(tangents, search.norm, delta, shortest=before / epsilon)
        found.append(over)
        before = epsilon
    return Excesses(torch.stack(found, 1).cummax(1).values, tuple(ascents.best))


def excess(tangents: Tangent, norm: Norm, delta: Tensor) -> Tensor:
    r""":math:`\ell(x + \delta) - \ell(x) - \|\delta\| \|\nabla \ell(x)\|_*`, ``(b,)``."""
    return tangents.change(delta) - norm.of(delta) * norm.dual.of(tangents.gradient)


@dataclass(slots=True)
class _Ascents:
    """The ascents of one batch, and the best perturbations so far.

    Attributes:
        tangents: of the images.
        batch: the images, which seed their random points.
        search: configuration of the search.
        targets: classes ``(b, t)`` of the ascents from random points, in their order.
        best: perturbation ``(b, c, h, w)`` of the largest climbed loss for each radius.
        height: that loss ``(b,)`` for each radius.
    """

    tangents: Tangent
    batch: Batch
    search: ExcessSearch
    targets: Tensor
    best: list[Tensor] = field(init=False)
    height: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        """Begin at the steepest direction."""
        direction = steepest(self.search.norm, self.tangents.gradient)
        self.best = [direction * epsilon for epsilon in self.search.epsilons]
        self.height = [torch.full_like(self.tangents.value, -torch.inf) for _ in self.best]

    def at_largest_radius(self, number: int) -> None:
        """Ascents at the largest radius, whose ends are tried at every radius."""
        position, grid = len(self.best) - 1, range(len(self.best))
        self.near(position, onward=0, name=f"{number}/steepest")
        for rank in range(self.targets.shape[1]):
            name = f"{number}/target-{rank}"
            towards = self.targets[:, rank] if self.search.targeted else None
            start, box = self._random(position, name, 0), number % 2 == 0
            self._keep(position, self._ascend(position, name, start, towards, box=box), grid)

    def near(self, position: int, *, onward: int, name: str) -> None:
        """An ascent from the best perturbation, whose end is tried at the radius ``onward`` too."""
        point = self._random(position, name, 0)
        start = (1 - OFF_RIDGE) * self.best[position] + OFF_RIDGE * point
        end = self._ascend(position, name, start)
        self._keep(position, end, {position, onward} & set(range(len(self.best))))

    def _ascend(
        self,
        position: int,
        name: str,
        start: Tensor,
        target: Tensor | None = None,
        *,
        box: bool = False,
    ) -> Tensor:
        """The best perturbation of an ascent; ``name`` makes its random stream unique."""
        first = NEAR if target is None else FAR
        return maximise(
            partial(self._towards, target),
            self.tangents.x,
            Ball(self.search.norm, self.search.epsilons[position]),
            AscentConfig(self.search.steps, self.search.rule(first), box),
            initial_perturbation=start,
            elsewhere=partial(self._random, position, name),
        ).best_delta

    def _keep(self, position: int, delta: Tensor, tried: Iterable[int]) -> None:
        """Keep ``delta``, scaled to each radius ``tried``, where its loss is the largest so far."""
        epsilons = self.search.epsilons
        for place in tried:
            scaled = delta if place == position else delta * (epsilons[place] / epsilons[position])
            with torch.no_grad():
                height = self._towards(None, scaled)
            higher = height > self.height[place]
            self.height[place] = torch.where(higher, height, self.height[place])
            rows = higher.view(-1, *[1] * (delta.dim() - 1))
            self.best[place] = torch.where(rows, scaled, self.best[place])

    def _towards(self, target: Tensor | None, delta: Tensor) -> Tensor:
        """The climbed loss at ``delta``, or the margin to the classes ``target``, ``(b,)``."""
        logits = self.tangents.classifier.twin_logits(self.tangents.x + delta)
        if target is None:
            return self.search.climbed.of(logits, self.tangents.y)
        return targeted_margin(logits, self.tangents.y, target)

    def _random(self, position: int, name: str, block: int, rows: Tensor | None = None) -> Tensor:
        """Random points of the ball, for all images or those where ``rows (b,)`` is true."""
        index, x = self.batch.index, self.tangents.x
        if rows is not None:
            index, x = index[rows.cpu().numpy()], x[rows]
        draws = RandomStart(self.search.seed, f"{STREAM}/{position}/{name}", block)
        return draws.draw(index, x, Ball(self.search.norm, self.search.epsilons[position]))


def _targets(tangents: Tangent, search: ExcessSearch) -> Tensor:
    """Other classes ``(b, t)`` of each image, the `CANDIDATES` with the largest logits."""
    with torch.no_grad():
        logits = tangents.classifier.twin_logits(tangents.x)
    own = logits.scatter(1, tangents.y.unsqueeze(1), torch.inf)
    return own.argsort(dim=1, descending=True, stable=True)[:, 1 : CANDIDATES + 1]


@torch.no_grad()
def _excess_along(tangents: Tangent, norm: Norm, delta: Tensor, *, shortest: float) -> Tensor:
    """Largest excess ``(b,)`` of shorter perturbations along ``delta``, at least 0.

    Tried at lengths from ``shortest`` to 1 times that of ``delta``, and at the shortest length
    where the loss reaches 0: there it shows how near an adversarial image is.
    """
    best = torch.zeros_like(tangents.value)
    for part in range(1, LENGTHS + 1):
        scale = shortest + (1 - shortest) * part / LENGTHS
        best = torch.fmax(best, excess(tangents, norm, delta * scale))
    low, high = torch.zeros_like(best), torch.ones_like(best)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        past = tangents.value + tangents.change(delta * per_row(middle, delta)) >= 0
        low, high = torch.where(past, low, middle), torch.where(past, middle, high)
    return torch.fmax(best, excess(tangents, norm, delta * per_row(high, delta)))
