"""Exact binomial limits (Clopper & Pearson 1934) and what follows from them for a data set.

Everything is float64 and uses ``scipy.special`` only (``scipy.stats`` costs a second to import).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from scipy import special

from robcert.certify.errors import InvalidParameterError, require_open_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.integer]
    Reals = NDArray[np.float64]

_ROUNDING = 1e-9
"""Error of a sum of shares that are whole numbers."""


@overload
def clopper_pearson_lower(successes: int, trials: int, alpha: float) -> float: ...
@overload
def clopper_pearson_lower(
    successes: Counts, trials: Counts | int, alpha: Reals | float
) -> Reals: ...
def clopper_pearson_lower(
    successes: Counts | int, trials: Counts | int, alpha: Reals | float
) -> Reals | float:
    r"""Lower confidence limit of a binomial proportion; one-sided, exact. Arrays broadcast.

    The :math:`\underline p` that solves :math:`P[\mathrm{Bin}(n, \underline p) \ge k] = \alpha`:
    the :math:`\alpha` quantile of :math:`\mathrm{Beta}(k, n - k + 1)`; 0 for k = 0.

    Args:
        successes: k, draws that showed the event.
        trials: n, all draws; 0 gives the trivial limit.
        alpha: probability that the limit exceeds the true proportion.

    >>> round(clopper_pearson_lower(990, 1000, 0.001), 6)
    0.976036
    """
    k, n, a = _checked(successes, trials, alpha)
    limit = np.where(k > 0, special.betaincinv(np.maximum(k, 1), n - k + 1, a), 0.0)
    return limit if limit.ndim else float(limit)


@overload
def clopper_pearson_upper(successes: int, trials: int, alpha: float) -> float: ...
@overload
def clopper_pearson_upper(
    successes: Counts, trials: Counts | int, alpha: Reals | float
) -> Reals: ...
def clopper_pearson_upper(
    successes: Counts | int, trials: Counts | int, alpha: Reals | float
) -> Reals | float:
    r"""Upper confidence limit of a binomial proportion: 1 minus the lower limit of the rest.

    >>> clopper_pearson_upper(5, 5, 0.05)
    1.0
    """
    k, n, a = _checked(successes, trials, alpha)
    limit = np.where(k < n, special.betainccinv(k + 1, np.maximum(n - k, 1), a), 1.0)
    return limit if limit.ndim else float(limit)


@dataclass(frozen=True, slots=True)
class Proportion:
    """An observed share and its two-sided Clopper-Pearson interval.

    Attributes:
        value: successes / n; NaN without trials.
        lower: lower limit.
        upper: upper limit.
        n: trials.
        level: probability, before the data are seen, that the interval covers the true share.
    """

    value: float
    lower: float
    upper: float
    n: int
    level: float


def proportion(successes: int, trials: int, *, level: float = 0.95) -> Proportion:
    """Share ``successes / trials`` with its exact two-sided interval.

    >>> share = proportion(250, 500)
    >>> round(share.lower, 4), round(share.upper, 4)
    (0.4553, 0.5447)
    """
    require_open_unit("level", level)
    successes, trials = int(successes), int(trials)
    side = (1 - level) / 2
    value = successes / trials if trials else float("nan")
    lower = clopper_pearson_lower(successes, trials, side)
    upper = clopper_pearson_upper(successes, trials, side)
    return Proportion(value, lower, upper, trials, level)


def mean_share(shares: NDArray[np.float64], *, level: float = 0.95) -> Proportion:
    """Mean of independent ``shares (n,)`` in [0, 1], with a two-sided interval.

    Its limits are those of :func:`proportion` for the next smaller and the next larger count. The
    variance of a share with mean p is at most p (1 - p), that of a success, so the interval is
    wider than it needs to be unless all shares are 0 or 1. A negative sum counts as 0.

    >>> mean_share(np.array([1.0, 0.0, 0.5])).value
    0.5
    """
    count, total = len(shares), float(np.clip(np.sum(shares), 0, len(shares)))
    below = proportion(math.floor(total + _ROUNDING), count, level=level)
    above = proportion(math.ceil(total - _ROUNDING), count, level=level)
    value = total / count if count else float("nan")
    return Proportion(value, below.lower, above.upper, count, level)


def binomial_tail(k: Counts | int, n: Counts | int, p: Reals | float) -> Reals:
    r""":math:`P[\mathrm{Bin}(n, p) \ge k]`, as the regularised incomplete beta function."""
    count, trials = np.asarray(k), np.asarray(n)
    inside = special.betainc(np.clip(count, 1, trials), trials - np.clip(count, 1, trials) + 1, p)
    return np.where(count <= 0, 1.0, np.where(count > trials, 0.0, inside))


def rejection_boundary(trials: int, p: float, alpha: float) -> int:
    r"""Smallest k whose Clopper-Pearson lower limit is at least ``p``; ``trials + 1`` if none is.

    That is the smallest k with :math:`P[\mathrm{Bin}(n, p) \ge k] \le \alpha`. A ``p`` that is 1 in
    float64 is never reached, whatever the counts (:math:`\Phi(8.3)` is 1.0 there).

    >>> rejection_boundary(100_000, 0.5, 1e-3)
    50490
    """
    if p >= 1:
        return trials + 1
    low, high = 0, trials + 1  # tail(low) > alpha >= tail(high)
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_tail(middle, trials, p) <= alpha:
            high = middle
        else:
            low = middle
    return high


def two_sided_p_value(count: int, other: int) -> float:
    r"""p-value of the exact two-sided test that two classes are equally likely.

    :math:`\min(1, 2 P[\mathrm{Bin}(n, 1/2) \ge \max(k, n - k)])` with n = ``count + other``. Valid
    for the two largest counts as well (Hung & Fithian 2019, arXiv:1610.03944).

    >>> round(two_sided_p_value(60, 40), 6)
    0.056888
    """
    return min(1.0, 2 * float(binomial_tail(max(count, other), count + other, 0.5)))


def sign_test_p_value(count: int, other: int) -> float:
    r"""p-value of the exact one-sided test that the first class is not the likelier one.

    :math:`P[\mathrm{Bin}(n, 1/2) \ge k]` for k = ``count`` and n = ``count + other``.

    >>> sign_test_p_value(5, 0), sign_test_p_value(0, 0)
    (0.03125, 1.0)
    """
    return float(binomial_tail(count, count + other, 0.5))


def binomial_quantile(trials: int, p: float, tail: float) -> int:
    r"""Smallest q with :math:`P[\mathrm{Bin}(n, p) > q] \le` ``tail``.

    Of ``trials`` certificates, each wrong with probability at most ``p`` independently of the
    others, at most q are wrong with probability at least 1 - ``tail``.

    >>> binomial_quantile(500, 1e-3, 0.05)
    2
    """
    if trials == 0:
        return 0
    exceed = binomial_tail(np.arange(1, trials + 2), trials, p)  # P[Bin > q], q = 0 ... n
    return int(np.argmax(exceed <= tail))


def population_lower(certified: int, images: int, *, alpha: float, gamma: float) -> float:
    r"""Lower limit, with probability 1 - gamma, of the certified accuracy on unseen images.

    :math:`(\underline p(C, M, \gamma) - \alpha) / (1 - \alpha)`, at least 0: an image counts as
    certified with probability at most T + alpha (1 - T), T being the true share. Assumes that the
    M images were drawn independently from the population.

    >>> round(population_lower(250, 500, alpha=1e-3, gamma=0.05), 4)
    0.4618
    """
    require_open_unit("alpha", alpha)
    lower = clopper_pearson_lower(int(certified), int(images), gamma)
    return max(0.0, (lower - alpha) / (1 - alpha))


def _checked(
    successes: Counts | int, trials: Counts | int, alpha: Reals | float
) -> tuple[Reals, Reals, Reals]:
    a = np.asarray(alpha, np.float64)
    if not np.all((a > 0) & (a < 1)):
        require_open_unit("alpha", float(a.flat[np.argmax(~((a > 0) & (a < 1)))]))
    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    if np.any((k < 0) | (k > n)):
        message = f"successes must lie in [0, trials], got {successes} of {trials}"
        raise InvalidParameterError(message)
    return k, n, a
