"""The largest deviation by ascents from several starts, of which the best continue.

The deviation from the tangent has many local maxima, such as one towards each other class. A single
ascent ends in one of them, on trained networks often far below the largest. Here short ascents from
many starts are ranked, and only the best continue: successive halving (Jamieson & Talwalkar 2016,
arXiv:1502.07943) with starts in place of hyperparameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
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

from .deviation import Deviation, Search, ascend, better_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from robcert.certify.core import Batch, Norm

    from .deviation import Sided, Tangent

RISE = 1.01
"""A repeat that raises an image's largest deviation by less than this factor is its last."""

TARGET_STEPS = 4
"""Steps of the short attacks whose last iterates are starts."""

SIZES = 12
"""Largest number of step sizes of an ascent."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Ascents of one stage.

    Attributes:
        starts: number of starts that take part, the best of the stage before; None: all.
        steps: steps of each, as a share of those of the last stage.
        first: size of the first step, in radii.
        last: size of the last step, in radii.
    """

    starts: int | None
    steps: float
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a search starts and which ascents follow.

    Steps longer than the radius reach the opposite side of the ball; short ones end at a maximum.

    Attributes:
        targets: largest number of other classes towards which the search starts.
        stages: ascents from the starts.
        repeats: further ascents from an image's largest deviation, while each raises it by `RISE`.
    """

    targets: int
    stages: tuple[Stage, ...]
    repeats: tuple[Stage, ...] = ()


MANY_STARTS = Plan(
    targets=9,
    stages=(Stage(None, 0.1, 2.0, 0.5), Stage(6, 0.2, 1.0, 0.3), Stage(2, 1.0, 2.0, 0.01)),
    # slow ascents go on, others move away
    repeats=(Stage(1, 1.0, 0.5, 0.01), Stage(1, 1.0, 0.5, 0.01), Stage(1, 1.0, 2.0, 0.01)),
)
"""The search for gamma."""


@dataclass(frozen=True, slots=True)
class Multistart:
    """Configuration of a search from several starts.

    The starts are the ends of steps along the gradient and against it, random points, and the ends
    of short attacks towards the highest other classes. The plan says how many of them continue.

    Attributes:
        norm: norm of the ball.
        sided: which deviations count.
        steps: gradient steps of an ascent of the last stage.
        restarts: random starts; at least 1.
        box: keep perturbed images in [0, 1].
        plan: the stages of the search.
    """

    norm: Norm
    sided: Sided
    steps: int
    restarts: int = 10
    box: bool = True
    plan: Plan = MANY_STARTS

    @property
    def n_gradients(self) -> int:
        """Largest number of gradients per image, besides the tangent's, without known starts."""
        plan = self.plan
        starts = 2 + self.restarts + plan.targets
        return (
            plan.targets * TARGET_STEPS
            + sum(
                min(stage.starts or starts, starts) * self.steps_of(stage) for stage in plan.stages
            )
            + sum(self.steps_of(stage) for stage in plan.repeats)
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

        The ``restart`` of a deviation is the number of its start: 0 along the gradient, 1 against
        it, then the random points, then the other classes, the highest first.

        Args:
            tangents: tangents of the images.
            batch: the images' positions in the data set, which seed their random points.
            epsilon: radius of the ball, pixel units.
            seed: seed of the run.
            stream: name of the random stream.
            known: further starts ``(b, c, h, w)``, the last in number.
        """
        best = _Ascents(self, tangents, batch, epsilon, seed, stream).staged(known)
        rows = np.arange(len(batch))
        for number, stage in enumerate(self.plan.repeats):
            some = _Ascents(self, tangents.part(rows), batch.part(rows), epsilon, seed, stream)
            before = best.part(rows)
            again = some.ascend(stage, before, f"repeat/{number}")
            found = better_of(before, again, before.restart)
            best = best.with_part(rows, found)
            rows = rows[(found.value > RISE * before.value).cpu().numpy()]
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
        """Largest deviations of all stages."""
        ends = self._starts(known)
        found: list[Deviation] = []
        for number, stage in enumerate(self.search.plan.stages):
            chosen = ends if stage.starts is None else _largest(ends, stage.starts)
            ends = [
                self.ascend(stage, start, f"{number}/{place}") for place, start in enumerate(chosen)
            ]
            found += ends
        last = torch.stack([end.last for end in ends]).amax(0)
        return replace(_largest(found, 1)[0], last=last)

    def ascend(self, stage: Stage, start: Deviation, name: str) -> Deviation:
        """Largest deviations of one ascent from ``start``, under the number of its start.

        ``name`` makes the random stream of the ascent unique.
        """
        search, steps = self.search, self.search.steps_of(stage)
        rule = shrinking_rule(search.norm, steps, stage.first, stage.last)

        def elsewhere(step: int, rows: Tensor) -> Tensor:
            index, x = self.batch.index[rows.cpu().numpy()], self.tangents.x[rows]
            stream = RandomStart(self.seed, f"{self.stream}/elsewhere/{name}", step)
            return stream.draw(index, x, self.ball)

        found = ascend(
            self.tangents,
            Search(search.norm, search.sided, steps, rule, box=search.box),
            start.delta,
            epsilon=self.epsilon,
            elsewhere=elsewhere,
        )
        return replace(found, restart=start.restart)

    def _starts(self, known: tuple[Tensor, ...]) -> list[Deviation]:
        """The starts of the search, with deviation 0."""
        along = self.epsilon * steepest(self.search.norm, self.tangents.gradient)
        random = (
            RandomStart(self.seed, self.stream, block).draw(
                self.batch.index, self.tangents.x, self.ball
            )
            for block in range(self.search.restarts)
        )
        zero = torch.zeros_like(self.tangents.value)
        points = (along, -along, *random, *self._attacked(), *known)
        return [
            Deviation(zero, zero, delta, torch.full_like(self.tangents.y, number))
            for number, delta in enumerate(points)
        ]

    def _attacked(self) -> Iterator[Tensor]:
        """The ends of short attacks towards the highest other classes at the images."""
        x, y = self.tangents.x, self.tangents.y
        logits_of = self.tangents.classifier.twin_logits
        with torch.no_grad():
            others = logits_of(x).scatter(1, y.unsqueeze(1), -torch.inf)
        order = others.argsort(dim=1, descending=True, stable=True)
        rule = shrinking_rule(self.search.norm, TARGET_STEPS, 1.0, 0.2)
        config = AscentConfig(TARGET_STEPS, rule, self.search.box)

        def lead(target: Tensor, delta: Tensor) -> Tensor:
            return targeted_margin(logits_of(x + delta), y, target)

        for target in order[:, :-1][:, : self.search.plan.targets].unbind(1):
            yield maximise(partial(lead, target), x, self.ball, config).best_delta


def shrinking_rule(norm: Norm, steps: int, first: float, last: float) -> StepRule:
    """Steepest ascent whose step size falls from ``first`` to ``last`` radii along a cosine."""
    levels = min(SIZES, steps)
    sizes = [
        last + (first - last) * (1 + math.cos(math.pi * level / max(1, levels - 1))) / 2
        for level in range(levels)
    ]
    drops = tuple(
        (steps * level // levels, sizes[level] / sizes[level - 1]) for level in range(1, levels)
    )
    return StepRule(Direction.steepest(norm), first, relative=True, drops=drops)


def _largest(ends: list[Deviation], count: int) -> list[Deviation]:
    """The ``count`` largest deviations of each image, the largest first."""
    order = torch.stack([end.value for end in ends]).argsort(dim=0, descending=True, stable=True)
    tensors = ("value", "last", "delta", "restart")
    stacked = [torch.stack([getattr(end, name) for end in ends]) for name in tensors]
    images = torch.arange(order.shape[1], device=order.device)
    return [Deviation(*(tensor[place, images] for tensor in stacked)) for place in order[:count]]
