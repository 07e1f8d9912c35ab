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

LENGTHS = 4
"""Lengths, between the previous radius and this one, at which a perturbation is tried."""

HALVINGS = 8
"""Bisections for the shortest length of a perturbation at which the loss is 0."""


@dataclass(frozen=True, slots=True)
class ExcessSearch:
    """How excesses are searched for, without the pixel box.

    At each radius the climbed loss is maximised from the best perturbation of the previous radius,
    scaled to the new one (at the first radius from the steepest direction), and from random points.
    The excess is then taken at several lengths of the best perturbation and where it crosses 0.

    Attributes:
        norm: norm of the balls.
        epsilons: their radii, ascending, pixel units.
        climbed: loss whose gradient is followed: the margin of logits, which does not saturate.
        steps: gradient steps from each start.
        starts: number of starts at each radius.
        seed: of the random points.
    """

    norm: Norm
    epsilons: tuple[float, ...]
    climbed: ImageLoss
    steps: int
    starts: int
    seed: int

    @property
    def n_gradients(self) -> int:
        """Gradients per image, besides that of the tangent."""
        return len(self.epsilons) * self.steps * self.starts

    @property
    def rule(self) -> StepRule:
        """Steps of two radii, halved after each fifth: 20 come near 3 times 40 on trained nets."""
        drops = tuple((self.steps * part // 5, 0.5) for part in range(1, 5))
        return StepRule(Direction.steepest(self.norm), 2.0, relative=True, drops=drops)


def largest_excesses(tangents: Tangent, batch: Batch, search: ExcessSearch) -> Tensor:
    """Largest excesses ``(b, m)`` that the search finds; rows are non-decreasing."""
    found, before, best = [], 0.0, torch.zeros_like(tangents.x)
    for position, epsilon in enumerate(search.epsilons):
        first = steepest(search.norm, tangents.gradient) * epsilon
        start = first if not before else best * (epsilon / before)
        best = _steepest_climb(tangents, batch, search, position, start)
        found.append(_excess_along(tangents, search.norm, best, shortest=before / epsilon))
        before = epsilon
    return torch.stack(found, 1).cummax(1).values


def excess(tangents: Tangent, norm: Norm, delta: Tensor) -> Tensor:
    r""":math:`\ell(x + \delta) - \ell(x) - \|\delta\| \|\nabla \ell(x)\|_*`, ``(b,)``."""
    return tangents.change(delta) - norm.of(delta) * norm.dual.of(tangents.gradient)


def _steepest_climb(
    tangents: Tangent, batch: Batch, search: ExcessSearch, position: int, start: Tensor
) -> Tensor:
    """Perturbations within the radius at ``position`` with the largest climbed loss found."""
    ball = Ball(search.norm, search.epsilons[position])
    config = AscentConfig(search.steps, search.rule, box=False)

    def climbed(delta: Tensor) -> Tensor:
        logits = tangents.classifier.twin_logits(tangents.x + delta)
        return search.climbed.of(logits, tangents.y)

    def random(number: int) -> Tensor:
        draws = RandomStart(search.seed, f"{STREAM}/{position}", number)
        return draws.draw(batch.index, tangents.x, ball)

    def starts() -> Iterator[Tensor]:
        yield (1 - OFF_RIDGE) * start + OFF_RIDGE * random(0)
        for number in range(1, search.starts):
            yield random(number)

    value, delta = torch.full_like(tangents.value, -torch.inf), torch.zeros_like(tangents.x)
    for number, point in enumerate(starts()):

        def elsewhere(step: int, rows: Tensor, number: int = number) -> Tensor:
            block = number * search.steps + step
            draws = RandomStart(search.seed, f"{STREAM}/{position}/elsewhere", block)
            return draws.draw(batch.index[rows.cpu().numpy()], tangents.x[rows], ball)

        ascent = maximise(
            climbed, tangents.x, ball, config, initial_perturbation=point, elsewhere=elsewhere
        )
        better = ascent.best_value > value
        value = torch.where(better, ascent.best_value, value)
        rows = better.view(-1, *[1] * (delta.dim() - 1))
        delta = torch.where(rows, ascent.best_delta, delta)
    return delta


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
