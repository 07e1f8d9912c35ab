r"""Sequential certification: stop sampling an image as soon as its radii are decided.

Interim analyses take place after :math:`n_1 < \dots < n_K` draws. The rule at each of them is such
that the probability of ever certifying a radius r although :math:`p_A < \Phi(r/\sigma)` is at
most alpha.

* Union bound: at analysis j the Clopper-Pearson lower limit at level :math:`\alpha_j`,
  :math:`\sum_j \alpha_j \le \alpha`; the best limit over the analyses is valid, and so
  is its radius.
* Group-sequential: for each radius of a grid, rejection boundaries from the exact binomial
  recursion with the same spending, unspent error probability carried forward (Jennison &
  Turnbull 1999, chapter 12). It certifies the radii of the grid and no others.

The radii of one image need no multiplicity correction if a radius counts only while all smaller
ones are certified too (step-down). Stopping early for futility costs power, never validity.
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

FIRST_ANALYSIS = 32
ANALYSIS_RATIO = 1.3
FUTILITY = 1e-3
"""A radius is abandoned as futile when its certification is less probable than this."""

ROUNDING = 1e-9
"""Relative error allowed for in the exact recursion (log-gamma of 1e5 loses six digits)."""


class StopReason(IntEnum):
    """Why sampling of an image ended."""

    FIXED = 0  # the number of draws was fixed in advance
    CERTIFIED = 1  # every attainable radius is certified
    FUTILE = 2  # the undecided radii are not attainable
    CAP = 3  # all draws allowed were used, some radius undecided


@dataclass(frozen=True, slots=True)
class Schedule:
    """The interim analyses and the error probability that each may spend.

    Attributes:
        analyses: draws at each interim analysis, increasing.
        spending: error probability of each analysis.
    """

    analyses: tuple[int, ...]
    spending: tuple[float, ...]

    @property
    def last(self) -> int:
        """Draws at the last analysis."""
        return self.analyses[-1]


def geometric_analyses(
    last: int, *, first: int = FIRST_ANALYSIS, ratio: float = ANALYSIS_RATIO, block: int = 1
) -> tuple[int, ...]:
    r"""Analyses after :math:`\lceil n_1 g^j \rceil` draws up to ``last``, in whole blocks.

    >>> geometric_analyses(100)
    (32, 42, 55, 71, 92, 100)
    >>> geometric_analyses(300, block=64)
    (64, 128, 192, 256, 300)
    """
    analyses: list[int] = []
    power = 0
    while (n := math.ceil(first * ratio**power)) < last:
        whole = -(-n // block) * block
        if whole < last and (not analyses or whole > analyses[-1]):
            analyses.append(whole)
        power += 1
    return (*analyses, last)


def open_ended_analyses(enough: int, *, block: int = 1) -> tuple[int, ...]:
    """The start of one infinite sequence of analyses, up to the first with ``enough`` draws.

    The analyses of a shorter run are a subset of those of a longer one, so both may be reported.

    >>> open_ended_analyses(300, block=64)
    (64, 128, 192, 256, 320)
    """
    beyond = 2 * max(enough, FIRST_ANALYSIS) + 2 * block
    analyses = geometric_analyses(beyond, block=block)
    end = next(position for position, n in enumerate(analyses) if n >= enough)
    return analyses[: end + 1]


def half_spending(analyses: tuple[int, ...], alpha: float) -> Schedule:
    """Schedule that spends half of alpha at the last analysis, the rest equally at the others."""
    early = len(analyses) - 1
    if early == 0:
        return Schedule(analyses, (alpha,))
    return Schedule(analyses, (*(alpha / 2 / early,) * early, alpha / 2))


def equal_spending(analyses: tuple[int, ...], alpha: float) -> Schedule:
    """Schedule that spends the same part of alpha at every analysis."""
    return Schedule(analyses, (alpha / len(analyses),) * len(analyses))


def open_spending(analyses: tuple[int, ...], alpha: float) -> Schedule:
    r""":math:`\alpha_j = \alpha / (j (j + 1))`: sums to alpha over infinitely many analyses.

    A run with this schedule may be continued indefinitely.
    """
    return Schedule(analyses, tuple(alpha / (j * (j + 1)) for j in range(1, len(analyses) + 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """Counts that decide at each analysis, for m thresholds in increasing order.

    Attributes:
        accept: ``(m, K)``; threshold i is passed at analysis j by a count of at least this.
        futile: ``(m, K)``; it is abandoned at a count of at most this.
    """

    accept: Integers
    futile: Integers


def union_bound_boundaries(schedule: Schedule, thresholds: tuple[float, ...]) -> Boundaries:
    """Boundaries of the Clopper-Pearson limits at the levels that ``schedule`` spends."""
    accept = [
        [
            rejection_boundary(n, p, a)
            for n, a in zip(schedule.analyses, schedule.spending, strict=True)
        ]
        for p in thresholds
    ]
    return _with_futility(schedule, accept)


def group_sequential_boundaries(schedule: Schedule, thresholds: tuple[float, ...]) -> Boundaries:
    """Boundaries from the exact recursion, one test per threshold."""
    return _with_futility(schedule, [_exact_boundary(schedule, p) for p in thresholds])


def open_boundaries(schedule: Schedule, thresholds: tuple[float, ...]) -> Boundaries:
    """Union-bound boundaries without a last analysis; futile only where p is below a threshold."""
    accept = union_bound_boundaries(schedule, thresholds).accept
    futile = [[_improbable(n, p) for n in schedule.analyses] for p in thresholds]
    return Boundaries(accept, np.array(futile, np.int64).reshape(accept.shape))


def crossing_probability(schedule: Schedule, accept: Integers, p: float) -> float:
    """Probability that a Bin(., p) path ever reaches ``accept (K,)``; exact, rounded up."""
    state = _Recursion(p)
    for n, boundary in zip(schedule.analyses, accept, strict=True):
        state.advance(n)
        state.absorb(int(boundary))
    return state.absorbed


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """Where paths of counts stopped and which thresholds they had passed by then.

    Attributes:
        stopped: whether the path reached an end ``(b,)``.
        analyses: number of analyses when it stopped, or all given ``(b,)``.
        passed: number of thresholds passed, counted from the smallest without a gap ``(b,)``.
    """

    stopped: NDArray[np.bool_]
    analyses: Integers
    passed: Integers


def decide(boundaries: Boundaries, paths: Integers) -> Decisions:
    """Decisions of ``paths (b, j)``, the counts at the first j analyses.

    A path ends when each threshold is passed or abandoned, or at the last analysis. Without
    thresholds it runs to the last analysis.
    """
    seen = paths.shape[1]
    counts = paths[:, None, :]
    passed = np.logical_or.accumulate(counts >= boundaries.accept[None, :, :seen], axis=2)
    futile = np.logical_or.accumulate(counts <= boundaries.futile[None, :, :seen], axis=2)
    in_order = np.logical_and.accumulate(passed, axis=1)
    ends: NDArray[np.bool_] = np.zeros((len(paths), seen), bool)
    if boundaries.accept.shape[0]:
        ends = np.asarray((passed | futile).all(axis=1))
    if seen == boundaries.accept.shape[1]:
        ends[:, -1] = True
    stopped: NDArray[np.bool_] = np.asarray(ends.any(axis=1))
    analyses = np.where(stopped, ends.argmax(axis=1) + 1, seen)
    at_end = in_order[np.arange(len(paths)), :, analyses - 1]
    return Decisions(stopped, analyses, at_end.sum(axis=1))


class _Recursion:
    """Distribution of a binomial count over the paths that were not absorbed so far.

    Only a window with all but 1e-17 of the probability of each step is kept; the rest counts as
    absorbed, so ``absorbed`` is never too small.
    """

    def __init__(self, p: float) -> None:
        self.p = p
        self.n = 0
        self.first = 0
        self.mass: Reals = np.ones(1)
        self.absorbed = 0.0

    def advance(self, n: int) -> None:
        """Draw up to ``n`` draws in total."""
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
        """Absorb the paths at or above ``boundary``."""
        keep = int(np.clip(boundary - self.first, 0, len(self.mass)))
        self.absorbed += float(self.mass[keep:].sum())
        self.mass = self.mass[:keep] if keep else np.zeros(1)


@lru_cache(maxsize=256)
def _exact_boundary(schedule: Schedule, p: float) -> tuple[int, ...]:
    if p >= 1:
        return tuple(n + 1 for n in schedule.analyses)
    state, allowed, boundaries = _Recursion(p), 0.0, []
    for n, alpha in zip(schedule.analyses, schedule.spending, strict=True):
        state.advance(n)
        allowed += alpha * (1 - ROUNDING)
        beyond = int(np.argmax(state.tail() <= allowed - state.absorbed))
        boundaries.append(state.first + beyond)
        state.absorb(boundaries[-1])
    return tuple(min(b, n + 1) for b, n in zip(boundaries, schedule.analyses, strict=True))


def _binomial_window(n: int, p: float) -> tuple[Reals, int]:
    """Probabilities of Bin(n, p) over a window that misses at most about 1e-17, and its start."""
    half_width = 9 * math.sqrt(n * p * (1 - p)) + 40
    low, high = max(0, math.floor(n * p - half_width)), min(n, math.ceil(n * p + half_width))
    k = np.arange(low, high + 1)
    choose = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return np.exp(choose + special.xlogy(k, p) + special.xlog1py(n - k, -p)), low


def _with_futility(
    schedule: Schedule, accept: list[list[int]] | list[tuple[int, ...]]
) -> Boundaries:
    last = schedule.last
    table = np.array(accept, np.int64).reshape(len(accept), len(schedule.analyses))
    futile = [
        [max(_improbable(n, row[-1] / last), row[-1] - (last - n) - 1) for n in schedule.analyses]
        for row in table.tolist()
    ]
    return Boundaries(table, np.array(futile, np.int64).reshape(table.shape))


def _improbable(n: int, p: float) -> int:
    """Largest count with P[Bin(n, p) <= count] at most FUTILITY; -1 if there is none."""
    return n - rejection_boundary(n, max(0.0, 1 - p), FUTILITY)
