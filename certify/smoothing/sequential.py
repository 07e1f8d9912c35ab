r"""Sequential certification: stop sampling an image as soon as its radii are decided.

An image is looked at after :math:`n_1 < \dots < n_K` draws. The rule at each look is such that the
probability of ever certifying a radius r although :math:`p_A < \Phi(r/\sigma)` is at most alpha.

* Union bound: at look j the Clopper-Pearson lower limit at level :math:`\alpha_j`,
  :math:`\sum_j \alpha_j \le \alpha`; the best limit over the looks is valid, and so is the
  radius it gives.
* Group-sequential: for each radius of a grid, rejection boundaries from the exact binomial
  recursion with the same spending, what is not spent carried forward (Jennison & Turnbull 1999,
  chapter 12). It certifies the radii of the grid and no others.

Radii of one image need no correction among themselves if one counts only while all smaller ones
count too (step-down). Giving up early (futility) costs power, never validity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from robcert.certify.stats import rejection_boundary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Reals = NDArray[np.float64]

FIRST_LOOK = 32
LOOK_RATIO = 1.3
FUTILITY = 1e-3
"""A radius is given up when a final success is less probable than this."""

ROUNDING = 1e-9
"""Relative error allowed for in the exact recursion (log-gamma of 1e5 loses six digits)."""


class StopReason(IntEnum):
    """Why sampling of an image ended."""

    FIXED = 0  # the number of draws was fixed in advance
    CERTIFIED = 1  # every attainable radius is certified
    FUTILE = 2  # the radii that are left are out of reach
    CAP = 3  # all draws allowed were used, some radius undecided


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to look and what each look may spend.

    Attributes:
        looks: draws seen at each look, increasing.
        spending: error probability of each look.
    """

    looks: tuple[int, ...]
    spending: tuple[float, ...]

    @property
    def last(self) -> int:
        """Draws at the last look."""
        return self.looks[-1]


def geometric_looks(
    last: int, *, first: int = FIRST_LOOK, ratio: float = LOOK_RATIO, block: int = 1
) -> tuple[int, ...]:
    r"""Looks after :math:`\lceil n_1 g^j \rceil` draws up to ``last``, rounded up to whole blocks.

    >>> geometric_looks(100)
    (32, 42, 55, 71, 92, 100)
    >>> geometric_looks(300, block=64)
    (64, 128, 192, 256, 300)
    """
    looks: list[int] = []
    power = 0
    while (n := math.ceil(first * ratio**power)) < last:
        whole = -(-n // block) * block
        if whole < last and (not looks or whole > looks[-1]):
            looks.append(whole)
        power += 1
    return (*looks, last)


def open_looks(enough: int, *, block: int = 1) -> tuple[int, ...]:
    """The beginning of one endless sequence of looks, up to the first of at least ``enough`` draws.

    A shorter run looks at nothing that a longer one does not, so both may be reported.

    >>> open_looks(300, block=64)
    (64, 128, 192, 256, 320)
    """
    beyond = 2 * max(enough, FIRST_LOOK) + 2 * block
    looks = geometric_looks(beyond, block=block)
    end = next(position for position, look in enumerate(looks) if look >= enough)
    return looks[: end + 1]


def half_spending(looks: tuple[int, ...], alpha: float) -> Schedule:
    """Half of alpha at the last look, the other half in equal parts at those before."""
    early = len(looks) - 1
    if early == 0:
        return Schedule(looks, (alpha,))
    return Schedule(looks, (*(alpha / 2 / early,) * early, alpha / 2))


def equal_spending(looks: tuple[int, ...], alpha: float) -> Schedule:
    """The same part of alpha at every look."""
    return Schedule(looks, (alpha / len(looks),) * len(looks))


def open_spending(looks: tuple[int, ...], alpha: float) -> Schedule:
    r""":math:`\alpha_j = \alpha / (j (j + 1))`: sums to alpha over infinitely many looks.

    A run with these looks may be continued without end.
    """
    return Schedule(looks, tuple(alpha / (j * (j + 1)) for j in range(1, len(looks) + 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """What counts decide at each look, for m thresholds in increasing order.

    Attributes:
        accept: ``(m, K)``; threshold i is passed at look j by a count of at least this.
        futile: ``(m, K)``; it is given up at a count of at most this.
    """

    accept: Integers
    futile: Integers


def union_bound_boundaries(schedule: Schedule, thresholds: tuple[float, ...]) -> Boundaries:
    """Boundaries of the Clopper-Pearson limits at the levels that ``schedule`` spends."""
    accept = [
        [
            rejection_boundary(n, p, a)
            for n, a in zip(schedule.looks, schedule.spending, strict=True)
        ]
        for p in thresholds
    ]
    return _with_futility(schedule, accept)


def group_sequential_boundaries(schedule: Schedule, thresholds: tuple[float, ...]) -> Boundaries:
    """Boundaries from the exact recursion, one test a threshold."""
    return _with_futility(schedule, [_exact_boundary(schedule, p) for p in thresholds])


def open_boundaries(schedule: Schedule, thresholds: tuple[float, ...]) -> Boundaries:
    """Union-bound boundaries without a last look: a threshold is given up when p is below it."""
    accept = union_bound_boundaries(schedule, thresholds).accept
    futile = [[_improbable(n, p) for n in schedule.looks] for p in thresholds]
    return Boundaries(accept, np.array(futile, np.int64).reshape(accept.shape))


def crossing_probability(schedule: Schedule, accept: Integers, p: float) -> float:
    """Probability that a Bin(., p) path reaches ``accept (K,)`` at some look; exact, from above."""
    state = _Recursion(p)
    for n, boundary in zip(schedule.looks, accept, strict=True):
        state.advance(n)
        state.absorb(int(boundary))
    return state.absorbed


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """Where paths of counts stopped and what they had passed by then.

    Attributes:
        stopped: whether the path reached an end ``(b,)``.
        looks: looks seen when it stopped, or all given ``(b,)``.
        passed: how many thresholds are passed, smallest first without a gap ``(b,)``.
    """

    stopped: NDArray[np.bool_]
    looks: Integers
    passed: Integers


def decide(boundaries: Boundaries, paths: Integers) -> Decisions:
    """Decisions of ``paths (b, j)``, the counts at the first j looks.

    A path ends when each threshold is passed or given up, or at the last look. Without thresholds
    it runs to the last look.
    """
    seen = paths.shape[1]
    counts = paths[:, None, :]
    passed = np.logical_or.accumulate(counts >= boundaries.accept[None, :, :seen], axis=2)
    hopeless = np.logical_or.accumulate(counts <= boundaries.futile[None, :, :seen], axis=2)
    in_order = np.logical_and.accumulate(passed, axis=1)
    ends: NDArray[np.bool_] = np.zeros((len(paths), seen), bool)
    if boundaries.accept.shape[0]:
        ends = np.asarray((passed | hopeless).all(axis=1))
    if seen == boundaries.accept.shape[1]:
        ends[:, -1] = True
    stopped: NDArray[np.bool_] = np.asarray(ends.any(axis=1))
    looks = np.where(stopped, ends.argmax(axis=1) + 1, seen)
    at_end = in_order[np.arange(len(paths)), :, looks - 1]
    return Decisions(stopped, looks, at_end.sum(axis=1))


class _Recursion:
    """Law of a binomial count among the paths that were not absorbed so far.

    Only a window that holds all but 1e-17 of each step is kept; what falls outside counts as
    absorbed, so ``absorbed`` is never too small.
    """

    def __init__(self, p: float) -> None:
        self.p = p
        self.n = 0
        self.first = 0
        self.mass: Reals = np.ones(1)
        self.absorbed = 0.0

    def advance(self, n: int) -> None:
        """Draw up to ``n`` in all."""
        step, start = _binomial_window(n - self.n, self.p)
        before = self.mass.sum()
        self.mass = np.convolve(self.mass, step)
        self.first += start
        self.n = n
        self.absorbed += max(0.0, before - float(self.mass.sum()))

    def tail(self) -> Reals:
        """Probabilities of at least ``first + i``, i = 0 ... length (the last one is 0)."""
        return np.append(np.cumsum(self.mass[::-1])[::-1], 0.0)

    def absorb(self, boundary: int) -> None:
        """Take out the paths at or above ``boundary``."""
        keep = int(np.clip(boundary - self.first, 0, len(self.mass)))
        self.absorbed += float(self.mass[keep:].sum())
        self.mass = self.mass[:keep] if keep else np.zeros(1)


@lru_cache(maxsize=256)
def _exact_boundary(schedule: Schedule, p: float) -> tuple[int, ...]:
    if p >= 1:
        return tuple(n + 1 for n in schedule.looks)
    state, allowed, boundaries = _Recursion(p), 0.0, []
    for n, alpha in zip(schedule.looks, schedule.spending, strict=True):
        state.advance(n)
        allowed += alpha * (1 - ROUNDING)
        beyond = int(np.argmax(state.tail() <= allowed - state.absorbed))
        boundaries.append(state.first + beyond)
        state.absorb(boundaries[-1])
    return tuple(min(b, n + 1) for b, n in zip(boundaries, schedule.looks, strict=True))


def _binomial_window(n: int, p: float) -> tuple[Reals, int]:
    """Probabilities of Bin(n, p) over a window that misses at most about 1e-17, and its start."""
    reach = 9 * math.sqrt(n * p * (1 - p)) + 40
    low, high = max(0, math.floor(n * p - reach)), min(n, math.ceil(n * p + reach))
    k = np.arange(low, high + 1)
    choose = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return np.exp(choose + special.xlogy(k, p) + special.xlog1py(n - k, -p)), low


def _with_futility(
    schedule: Schedule, accept: list[list[int]] | list[tuple[int, ...]]
) -> Boundaries:
    last = schedule.last
    table = np.array(accept, np.int64).reshape(len(accept), len(schedule.looks))
    futile = [
        [max(_improbable(n, row[-1] / last), row[-1] - (last - n) - 1) for n in schedule.looks]
        for row in table.tolist()
    ]
    return Boundaries(table, np.array(futile, np.int64).reshape(table.shape))


def _improbable(n: int, p: float) -> int:
    """Largest count with P[Bin(n, p) <= count] at most FUTILITY; -1 if there is none."""
    return n - rejection_boundary(n, max(0.0, 1 - p), FUTILITY)
