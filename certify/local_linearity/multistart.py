"""The largest deviation by ascents from several starts, of which the best continue.

The deviation from the tangent has many local maxima, such as one towards each other class. A single
ascent ends in one of them, on trained networks often far below the largest. Here short ascents from
several starts are ranked, and only the best continue: successive halving (Jamieson & Talwalkar
2016, arXiv:1502.07943) with starts in place of hyperparameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.core import Ball
from robcert.certify.numerics import (
    AscentConfig,
    Direction,
    RandomStart,
    StepRule,
    maximise,
    steepest,
    targeted_margin,
)

from .deviation import Search, ascend, better_of

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.core import Batch, Norm

    from .deviation import Deviation, Sided, Tangent

RISE = 1.01
"""A restart that raises an image's largest deviation by less than this factor is idle."""

IDLE = 3
"""So many idle restarts in a row end the search of an image."""

TARGET_STEPS = 8
"""Steps of the short attack whose last iterate is a start."""

DROPS = 8
"""Number of times that the step size is reduced during an ascent."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the first ascent, or all of a restart.

    Attributes:
        starts: number of starts that take part, the best of the stage before.
        steps: steps of each, as a share of those of the last stage.
        first: size of the first step, in radii.
        last: size of the last step, in radii.
    """

    starts: int
    steps: float
    first: float
    last: float


STAGES = (Stage(8, 0.1, 2.0, 0.5), Stage(2, 0.2, 1.0, 0.3), Stage(1, 1.0, 0.6, 0.01))
"""Steps longer than the radius reach the opposite side of the ball; short ones end at a maximum."""

RANDOM_RESTART, TARGETED_RESTART = Stage(1, 1.2, 2.0, 0.01), Stage(1, 1.0, 1.0, 0.01)


@dataclass(frozen=True, slots=True)
class Multistart:
    """Configuration of a search from several starts.

    The first ascent is the best of `STAGES`: it starts along the gradient, against it, at the end
    of a short attack towards the highest other class, and from random points. Restarts follow, in
    turn from a random point and from the end of an attack towards the next other class. The search
    of an image ends after `IDLE` restarts in a row that do not raise its largest deviation by
    `RISE`.

    Attributes:
        norm: norm of the ball.
        sided: which deviations count.
        steps: gradient steps of the last stage.
        restarts: largest number of ascents to the end, with the first; at least 1.
        box: keep perturbed images in [0, 1].
    """

    norm: Norm
    sided: Sided
    steps: int
    restarts: int = 1
    box: bool = True

    @property
    def n_gradients(self) -> int:
        """Largest number of gradients per image, besides the tangent's."""
        first = TARGET_STEPS + sum(stage.starts * self.steps_of(stage) for stage in STAGES)
        further = self.restarts - 1
        targeted = further // 2
        return (
            first
            + targeted * (TARGET_STEPS + self.steps_of(TARGETED_RESTART))
            + (further - targeted) * self.steps_of(RANDOM_RESTART)
        )

    def largest(
        self,
        tangents: Tangent,
        batch: Batch,
        *,
        epsilon: float,
        seed: int,
        stream: str,
        known: tuple[Tensor, ...] = (),
    ) -> Deviation:
        """Largest deviations from the tangent that the search finds within ``epsilon``.

        Args:
            tangents: tangents of the images.
            batch: the images' positions in the data set, which seed their random points.
            epsilon: radius of the ball, pixel units.
            seed: seed of the run.
            stream: name of the random stream.
            known: perturbations ``(b, c, h, w)`` at which the first ascent starts too, in place of
                the end of a short attack and of as many random points.
        """
        best = _Ascents(self, tangents, batch, epsilon, seed, stream).staged(known)
        rows, idle = np.arange(len(batch)), np.zeros(len(batch), np.int64)
        for number in range(1, self.restarts):
            some = _Ascents(self, tangents.part(rows), batch.part(rows), epsilon, seed, stream)
            found, before = some.restart(number), best.part(rows)
            best = best.with_part(rows, better_of(before, found, number))
            rose = (found.value > RISE * before.value).cpu().numpy()
            idle[rows] = np.where(rose, 0, idle[rows] + 1)
            rows = np.flatnonzero(idle < IDLE)
            if not len(rows):
                break
        return best

    def steps_of(self, stage: Stage) -> int:
        """Gradient steps of each start in ``stage``."""
        return max(1, round(stage.steps * self.steps))


@dataclass(frozen=True, slots=True)
class _Ascents:
    """The ascents of ``search`` on some of its images."""

    search: Multistart
    tangents: Tangent
    batch: Batch
    epsilon: float
    seed: int
    stream: str

    @property
    def ball(self) -> Ball:
        """Ball of the perturbations."""
        return Ball(self.search.norm, self.epsilon)

    def staged(self, known: tuple[Tensor, ...]) -> Deviation:
        """Largest deviations of the first ascent, with all its stages."""
        along = self.epsilon * steepest(self.search.norm, self.tangents.gradient)
        points = [along, -along, *(known or [self._attacked(0)])]
        points += [self._random(-1 - block) for block in range(STAGES[0].starts - len(points))]
        found: list[Deviation] = []
        for number, stage in enumerate(STAGES):
            points = _largest_points(found[-len(points) :], stage.starts) if found else points
            found += [
                self._ascend(stage, point, f"{number}/{place}")
                for place, point in enumerate(points)
            ]
        best = found[0]
        for other in found[1:]:
            best = better_of(best, other, 0)
        return replace(best, last=found[-1].last)

    def restart(self, number: int) -> Deviation:
        """Largest deviations of restart ``number``, from 1."""
        rank = number // 2
        targeted = number % 2 == 0 and rank < self.tangents.classifier.num_classes - 1
        start = self._attacked(rank) if targeted else self._random(number)
        stage = TARGETED_RESTART if targeted else RANDOM_RESTART
        return self._ascend(stage, start, f"restart/{number}")

    def _random(self, block: int) -> Tensor:
        """One random point of each image's ball."""
        stream = RandomStart(self.seed, self.stream, block)
        return stream.draw(self.batch.index, self.tangents.x, self.ball)

    def _attacked(self, rank: int) -> Tensor:
        """The end of a short attack towards the other class of ``rank`` (from 0) at the image."""
        x, y = self.tangents.x, self.tangents.y
        logits_of = self.tangents.classifier.twin_logits
        with torch.no_grad():
            others = logits_of(x).scatter(1, y.unsqueeze(1), -torch.inf)
        target = others.argsort(dim=1, descending=True, stable=True)[:, rank]
        rule = shrinking_rule(self.search.norm, TARGET_STEPS, 1.0, 0.1)
        return maximise(
            lambda delta: targeted_margin(logits_of(x + delta), y, target),
            x,
            self.ball,
            AscentConfig(TARGET_STEPS, rule, self.search.box),
        ).best_delta

    def _ascend(self, stage: Stage, start: Tensor, name: str) -> Deviation:
        """Largest deviations on the way from ``start``; ``name`` makes its random stream unique."""
        search, steps = self.search, self.search.steps_of(stage)
        rule = shrinking_rule(search.norm, steps, stage.first, stage.last)

        def elsewhere(step: int, rows: Tensor) -> Tensor:
            index, x = self.batch.index[rows.cpu().numpy()], self.tangents.x[rows]
            stream = RandomStart(self.seed, f"{self.stream}/elsewhere/{name}", step)
            return stream.draw(index, x, self.ball)

        return ascend(
            self.tangents,
            Search(search.norm, search.sided, steps, rule, box=search.box),
            start,
            epsilon=self.epsilon,
            elsewhere=elsewhere,
        )


def shrinking_rule(norm: Norm, steps: int, first: float, last: float) -> StepRule:
    """Steepest ascent whose step size falls from ``first`` to ``last`` radii in equal ratios."""
    drops = min(DROPS, steps - 1)
    ratio = (last / first) ** (1 / drops) if drops else 1.0
    after = tuple((steps * number // (drops + 1), ratio) for number in range(1, drops + 1))
    return StepRule(Direction.steepest(norm), first, relative=True, drops=after)


def _largest_points(ends: list[Deviation], count: int) -> list[Tensor]:
    """Perturbations of the ``count`` largest deviations, per image, the largest first."""
    order = torch.stack([end.value for end in ends]).argsort(dim=0, descending=True, stable=True)
    deltas, rows = torch.stack([end.delta for end in ends]), torch.arange(order.shape[1])
    return [deltas[order[place], rows.to(order.device)] for place in range(count)]
