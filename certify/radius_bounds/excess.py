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

from dataclasses import dataclass
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
    value_and_gradient,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.local_linearity import Tangent
    from robcert.certify.numerics import ImageLoss

STREAM = "bounds/rho"

OFF_RIDGE = 0.1
"""Share of a random point in a start: the steepest direction may be a ridge, on which gradients
point along it and never off it."""

CANDIDATES = 9
"""Classes among which the targets of the later starts are chosen."""

LENGTHS = 4
"""Lengths, between the previous radius and this one, at which a perturbation is tried."""

HALVINGS = 8
"""Bisections for the shortest length of a perturbation at which the loss is 0."""


@dataclass(frozen=True, slots=True)
class ExcessSearch:
    """How excesses are searched for, without the pixel box.

    At each radius the climbed loss is maximised from the best perturbation of the previous radius,
    scaled to the new one (at the first radius from the steepest direction). Then, from random
    points, the margins to single classes are, that of the nearest linearised boundary first: nets
    on which one ascent ends in the wrong class are common. The excess is taken at several lengths
    of the best perturbation of each ascent and where the loss crosses 0 along it.

    Attributes:
        norm: norm of the balls.
        epsilons: their radii, ascending, pixel units.
        climbed: loss whose gradient is followed: the margin of logits, which does not saturate.
        steps: gradient steps from each start.
        starts: number of starts at each radius.
        seed: of the random points.
        targeted: whether starts from random points have a target class; else none has.
    """

    norm: Norm
    epsilons: tuple[float, ...]
    climbed: ImageLoss
    steps: int
    starts: int
    seed: int
    targeted: bool = True

    @property
    def n_gradients(self) -> int:
        """Gradients per image, besides that of the tangent, at most."""
        ranking = CANDIDATES if self.targeted and self.starts > 1 else 0
        return ranking + len(self.epsilons) * self.steps * self.starts

    @property
    def rule(self) -> StepRule:
        """Steps of two radii, halved after each fifth: 20 come near 3 times 40 on trained nets."""
        drops = tuple((self.steps * part // 5, 0.5) for part in range(1, 5))
        return StepRule(Direction.steepest(self.norm), 2.0, relative=True, drops=drops)


def largest_excesses(tangents: Tangent, batch: Batch, search: ExcessSearch) -> Tensor:
    """Largest excesses ``(b, m)`` that the search finds; rows are non-decreasing."""
    ascents = _Ascents(tangents, batch, search, _targets(tangents, search))
    found, before = [], 0.0
    best = torch.zeros_like(tangents.x)
    for position, epsilon in enumerate(search.epsilons):
        first = steepest(search.norm, tangents.gradient) * epsilon
        start = first if not before else best * (epsilon / before)
        largest = torch.zeros_like(tangents.value)
        height = torch.full_like(tangents.value, -torch.inf)
        for end in ascents.ends(position, start):
            over = _excess_along(tangents, search.norm, end, shortest=before / epsilon)
            largest = torch.fmax(largest, over)
            with torch.no_grad():
                reached = ascents.height(end)
            higher = reached > height
            height = torch.where(higher, reached, height)
            best = torch.where(higher.view(-1, *[1] * (end.dim() - 1)), end, best)
        found.append(largest)
        before = epsilon
    return torch.stack(found, 1).cummax(1).values


def excess(tangents: Tangent, norm: Norm, delta: Tensor) -> Tensor:
    r""":math:`\ell(x + \delta) - \ell(x) - \|\delta\| \|\nabla \ell(x)\|_*`, ``(b,)``."""
    return tangents.change(delta) - norm.of(delta) * norm.dual.of(tangents.gradient)


@dataclass(frozen=True, slots=True)
class _Ascents:
    """The ascents of one batch.

    Attributes:
        tangents: of the images.
        batch: the images, which seed their random points.
        search: configuration of the search.
        targets: classes ``(b, t)`` of the starts after the first, in their order.
    """

    tangents: Tangent
    batch: Batch
    search: ExcessSearch
    targets: Tensor

    def height(self, delta: Tensor) -> Tensor:
        """The climbed loss at ``delta``, ``(b,)``."""
        return self.search.climbed.of(self._logits(delta), self.tangents.y)

    def ends(self, position: int, start: Tensor) -> Iterator[Tensor]:
        """The best perturbation of each ascent within the radius at ``position`` of the grid."""
        search, ball = self.search, Ball(self.search.norm, self.search.epsilons[position])
        config = AscentConfig(search.steps, search.rule, box=False)
        for number in range(search.starts):
            point = self._random(ball, f"{STREAM}/{position}", number)
            if number == 0:
                point = (1 - OFF_RIDGE) * start + OFF_RIDGE * point
            yield maximise(
                partial(self._towards, number),
                self.tangents.x,
                ball,
                config,
                initial_perturbation=point,
                elsewhere=partial(self._elsewhere, ball, position, number),
            ).best_delta

    def _logits(self, delta: Tensor) -> Tensor:
        return self.tangents.classifier.twin_logits(self.tangents.x + delta)

    def _towards(self, number: int, delta: Tensor) -> Tensor:
        """What the ascent with this number maximises."""
        if number == 0 or not self.search.targeted:
            return self.height(delta)
        target = self.targets[:, (number - 1) % self.targets.shape[1]]
        return targeted_margin(self._logits(delta), self.tangents.y, target)

    def _elsewhere(self, ball: Ball, position: int, number: int, step: int, rows: Tensor) -> Tensor:
        """New points of the images ``rows (b,)`` where the loss is flat."""
        block = number * self.search.steps + step
        return self._random(ball, f"{STREAM}/{position}/elsewhere", block, rows)

    def _random(self, ball: Ball, stream: str, block: int, rows: Tensor | None = None) -> Tensor:
        """Random points of the ball, for all images or those where ``rows (b,)`` is true."""
        draws = RandomStart(self.search.seed, stream, block)
        if rows is None:
            return draws.draw(self.batch.index, self.tangents.x, ball)
        return draws.draw(self.batch.index[rows.cpu().numpy()], self.tangents.x[rows], ball)


def _targets(tangents: Tangent, search: ExcessSearch) -> Tensor:
    """Other classes ``(b, t)`` of each image, that of the nearest linearised boundary first.

    Among the `CANDIDATES` with the largest logits; one gradient for each.
    """
    if not search.targeted or search.starts == 1:
        return tangents.y[:, None]
    with torch.no_grad():
        logits = tangents.classifier.twin_logits(tangents.x)
        own = logits.scatter(1, tangents.y.unsqueeze(1), torch.inf)
        ranked = own.argsort(dim=1, descending=True, stable=True)[:, 1 : CANDIDATES + 1]

    def distance(target: Tensor) -> Tensor:
        def margin(x: Tensor) -> Tensor:
            return targeted_margin(tangents.classifier.twin_logits(x), tangents.y, target)

        value, gradient = value_and_gradient(margin, tangents.x)
        return -value / search.norm.dual.of(gradient)

    far = torch.stack([distance(target) for target in ranked.T], 1).nan_to_num(torch.inf)
    return ranked.gather(1, far.argsort(dim=1, stable=True))


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
