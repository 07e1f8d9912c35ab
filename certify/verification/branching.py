"""Branch and bound on the signs of ReLU inputs.

A region of signs is bounded with optimised slopes and multipliers; one that stays open is split at
the unit with the highest score. A statement is proved when no open region is left
(Bunel et al. 2020; De Palma et al. 2021, arXiv:2104.06718; Wang et al. 2021, arXiv:2103.06624).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .bounds.slopes import Choice, Effort, Optimised, Units, evaluate, optimise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BYTES = 2**29
"""Memory for the open regions of one statement."""

LARGEST_BATCH = 256

CANDIDATES = 6
"""Units per region that are tried before one is split."""

LAST_STEPS = 300
"""Steps in a region of known signs, where only multipliers are left to be optimised."""

STEPS = 6
"""Steps of the optimisation in a region; it continues where its parent's ended."""


@dataclass(slots=True)
class Regions:
    """Regions of signs, the first axis of every attribute.

    Attributes:
        row: row of coefficients that each is about.
        bound: lower bound in the region.
        signs: ``(n, u)`` int8.
        slopes: ``(n, u)``.
        multipliers: ``(n, u)``.
        score: expected gain of the bound by a split of each unit, ``(n, u)``.
    """

    row: Tensor
    bound: Tensor
    signs: Tensor
    slopes: Tensor
    multipliers: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.row)

    @property
    def choice(self) -> Choice:
        """Signs, slopes and multipliers."""
        return Choice(self.slopes, self.signs, self.multipliers)

    def at(self, index: Tensor) -> Regions:
        """The regions at ``index``."""
        return Regions(*(getattr(self, name)[index] for name in self.__slots__))


def joined(parts: Sequence[Regions]) -> Regions:
    """The regions of all ``parts``."""
    names = Regions.__slots__
    return Regions(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(slots=True)
class Outcome:
    """How the search ended.

    Attributes:
        bound: lower bound over all regions, closed ones at 0.
        branches: regions that were bounded.
        in_time: whether it ended before the deadline and within memory.
        finished: whether no region is left open.
        counterexample: an input that violates the statement.
    """

    bound: float
    branches: int
    in_time: bool
    finished: bool = False
    counterexample: Tensor | None = None


@dataclass(slots=True)
class Search:
    """Branch and bound for rows of coefficients of the scores.

    Attributes:
        units: open units of the region's bounds.
        rows: coefficients ``(m, *shape)``: every row must be positive over the region.
        offset: added to each row ``(m,)``.
        violates: which of a batch of inputs violate the statement.
        deadline: ``time.monotonic()`` after which it ends.
        closed: receives the regions that are proved; None to drop them.
        branches: regions that were bounded.
    """

    units: Units
    rows: Tensor
    offset: Tensor
    violates: Callable[[Tensor], Tensor]
    deadline: float
    closed: list[Regions] | None = None
    branches: int = 0

    def run(self, root: Optimised) -> Outcome:
        """Search below ``root``, the bounds of the rows without assumptions."""
        signs = torch.zeros(root.slopes.shape, dtype=torch.int8)
        pool = self._regions(torch.arange(len(self.rows)), root, signs)
        pool = self._open(pool)
        batch = self._batch()
        while len(pool):
            if time.monotonic() > self.deadline or self._too_many(pool):
                return Outcome(float(pool.bound.min()), self.branches, in_time=False)
            order = pool.bound.argsort()  # the worst first: there a counterexample may lie
            worst = pool.at(order[:batch])
            pool = pool.at(order[batch:])
            whole = worst.score.amax(1) <= 0
            if bool(whole.any()):  # every sign is assumed: a linear program, without branches
                rest = self._settled(worst.at(whole.nonzero().flatten()))
                if len(rest):
                    return Outcome(float(rest.bound.min()), self.branches, in_time=True)
                worst = worst.at((~whole).nonzero().flatten())
                if not len(worst):
                    continue
            children, found = self._children(worst)
            if found is not None:
                return Outcome(
                    float(children.bound.min()), self.branches, in_time=True, counterexample=found
                )
            pool = joined([pool, self._open(children)])
        return Outcome(0.0, self.branches, in_time=True, finished=True)

    def _open(self, regions: Regions) -> Regions:
        """The regions that are not proved."""
        proved = regions.bound > 0
        if self.closed is not None and bool(proved.any()):
            self.closed.append(regions.at(proved.nonzero().flatten()))
        return regions.at((~proved).nonzero().flatten())

    def _batch(self) -> int:
        return max(1, min(LARGEST_BATCH, self.units.rows_at_once // 2))

    def _too_many(self, pool: Regions) -> bool:
        return len(pool) * self.units.count * 32 > BYTES

    def _regions(self, row: Tensor, found: Optimised, signs: Tensor) -> Regions:
        return Regions(
            row,
            found.bound + self.offset[row],
            signs,
            found.slopes,
            found.multipliers,
            self._scores(found, signs),
        )

    def _scores(self, found: Optimised, signs: Tensor) -> Tensor:
        """How far the lines of each open unit lie from the unit, weighted by its coefficient."""
        low, high = (bound.to(found.slopes) for bound in self.units.intervals())
        above = -low * high / (high - low)
        below = torch.minimum(found.slopes * -low, (1 - found.slopes) * high)
        score = (-found.coefficients).clamp(min=0) * above
        score = score + found.coefficients.clamp(min=0) * below
        return torch.where(signs == 0, score.clamp_min(1e-30), 0.0)

    def _children(self, parents: Regions) -> tuple[Regions, Tensor | None]:
        """Both halves of every region, bounded, and a counterexample if one was met."""
        unit = self._choice(parents)
        row = parents.row.repeat(2)
        signs = parents.signs.repeat(2, 1)
        n = len(parents)
        at = torch.arange(n)
        signs[at, unit] = 1
        signs[n + at, unit] = -1
        found = optimise(
            self.units,
            self.rows[row],
            replace(parents.choice.twice(), signs=signs),
            target=-self.offset[row],
            effort=Effort(STEPS, self.deadline),
        )
        self.branches += 2 * n
        children = self._regions(row, found, signs)
        # a half is no larger than the whole
        children.bound = torch.maximum(children.bound, parents.bound.repeat(2))
        inputs = self.units.bounds.region.minimiser(found.inputs)
        broken = self.violates(inputs)
        return children, inputs[broken][0] if bool(broken.any()) else None

    def _settled(self, regions: Regions) -> Regions:
        """What stays open of regions of known signs after more steps."""
        found = optimise(
            self.units,
            self.rows[regions.row],
            regions.choice,
            target=-self.offset[regions.row],
            effort=Effort(LAST_STEPS, self.deadline),
        )
        return self._open(self._regions(regions.row, found, regions.signs))

    def _choice(self, parents: Regions) -> Tensor:
        """The unit to split in each region: of the best scores the one whose halves bound best."""
        count = min(CANDIDATES, self.units.count)
        scores, candidates = parents.score.topk(count, dim=1)
        n = len(parents)
        value = torch.full((n, count), -torch.inf, dtype=torch.float64)
        for at in range(count):
            signs = parents.signs.repeat(2, 1)
            signs[torch.arange(n), candidates[:, at]] = 1
            signs[n + torch.arange(n), candidates[:, at]] = -1
            row = parents.row.repeat(2)
            with torch.no_grad():
                choice = replace(parents.choice.twice(), signs=signs)
                bound = evaluate(self.units, self.rows[row], choice)
            first, second = torch.split(bound + self.offset[row], n)
            smaller = torch.minimum(first, second).clamp(max=0)
            larger = torch.maximum(first, second).clamp(max=0)
            value[:, at] = smaller + 0.1 * larger
        value = torch.where(scores > 0, value, -torch.inf)
        best = value.argmax(1)
        return candidates[torch.arange(n), best]
