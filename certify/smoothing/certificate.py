r"""Randomized smoothing: certificates from counts (Cohen et al. 2019, arXiv:1902.02918).

The smoothed classifier is :math:`g(x) = \arg\max_c P[f(x + \eta) = c]`,
:math:`\eta \sim N(0, \sigma^2 I)`, with noise that is never clipped to [0, 1]. All radii and
:math:`\sigma` are in pixel units, all statements hold in real arithmetic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from robcert.certify.core import Certificate, Norm
from robcert.certify.errors import require_at_least, require_open_unit, require_positive
from robcert.certify.stats import clopper_pearson_lower, clopper_pearson_upper, two_sided_p_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

ABSTAIN = -1
"""Prediction where no class could be certified."""


def threshold(radius: float, *, sigma: float) -> float:
    r"""Probability :math:`\Phi(r / \sigma)` that the top class must reach to certify ``radius``.

    >>> round(threshold(0.5, sigma=0.5), 6)
    0.841345
    """
    return float(special.ndtr(radius / sigma))


def standard_radius(p_lower: float) -> float:
    r""":math:`\max(0, \Phi^{-1}(\underline p))`: the certified l2 radius in units of sigma.

    Theorem 1 with :math:`\overline{p_B} = 1 - \underline{p_A}`; 0 unless the class has a majority.
    """
    return max(0.0, float(special.ndtri(p_lower))) if p_lower > 0 else 0.0


def l2_certificate(top_count: int, trials: int, *, sigma: float, alpha: float) -> Certificate:
    """Radius that holds with probability at least 1 - alpha over the noise (Cohen's CERTIFY).

    ``top_count`` must come from draws that were not used to choose the class: the limit is valid
    only for a class fixed in advance. Radius 0 is an abstention.

    >>> l2_certificate(99_000, 100_000, sigma=0.5, alpha=1e-3).radius
    1.144999...
    """
    require_positive("sigma", sigma)
    p_lower = clopper_pearson_lower(top_count, trials, alpha)
    return Certificate(Norm.L2, sigma * standard_radius(p_lower), alpha)


def largest_radius(trials: int, *, sigma: float, alpha: float) -> float:
    r"""Radius :math:`\sigma \Phi^{-1}(\alpha^{1/n})` of n unanimous draws, the largest possible.

    >>> largest_radius(100_000, sigma=1.0, alpha=1e-3)
    3.811456...
    """
    require_positive("sigma", sigma)
    require_open_unit("alpha", alpha)
    require_at_least("n", trials, 1)
    return sigma * standard_radius(clopper_pearson_lower(trials, trials, alpha))


def runner_up_limit(
    counts: NDArray[np.int64], selected: int, *, alpha: float, trials: int | None = None
) -> float:
    r"""Upper limit on every class but ``selected``, with probability at least 1 - alpha.

    :math:`\max_{j \ne A} \overline p(k_j; n, \alpha / (K - 1))`, a union bound over the K - 1
    others; it is attained at the largest count.

    Args:
        counts: draws of each class ``(k,)``.
        selected: the class A.
        alpha: probability that the limit is too low.
        trials: all draws n, those that voted for no class included; None: all voted.
    """
    others = np.delete(counts, selected)
    n = int(counts.sum()) if trials is None else trials
    return clopper_pearson_upper(int(others.max()), n, alpha / len(others))


def two_class_radius(p_lower: float, other_upper: float) -> float:
    r""":math:`\tfrac12 (\Phi^{-1}(\underline{p_A}) - \Phi^{-1}(\overline{p_B}))`, at least 0.

    Theorem 1 in units of sigma. Never below :func:`standard_radius` of the same ``p_lower``,
    because :math:`p_B \le 1 - \underline{p_A}` holds wherever the limit on A does.
    """
    other = min(other_upper, 1 - p_lower)
    if p_lower <= 0:
        return 0.0
    if other <= 0:  # only if p_lower is 1, which no finite sample gives
        return standard_radius(p_lower)
    return max(0.0, float(special.ndtri(p_lower) - special.ndtri(other)) / 2)


def prediction(counts: NDArray[np.int64], *, alpha: float) -> int:
    """Class of the smoothed classifier, or ABSTAIN (Cohen's PREDICT).

    A returned class is wrong with probability at most alpha: the two largest counts are compared
    by a two-sided binomial test (Hung & Fithian 2019, arXiv:1610.03944).
    """
    first, second = top_two(counts)
    p_value = two_sided_p_value(int(counts[first]), int(counts[second]))
    return first if p_value <= alpha else ABSTAIN


def top_two(counts: NDArray[np.int64]) -> tuple[int, int]:
    """The two classes with the largest counts; of equal counts the lower class comes first."""
    order = np.argsort(-counts, kind="stable")
    return int(order[0]), int(order[1])


def norm_factor(norm: Norm, pixels: int) -> float:
    r"""Factor that converts an l2 radius to ``norm``: 1 for l1 and l2, 1/sqrt(d) for linf.

    :math:`\|v\|_2 \le \|v\|_1` and :math:`\|v\|_2 \le \sqrt d \|v\|_\infty`, d values per image.
    """
    return 1 / math.sqrt(pixels) if norm is Norm.LINF else 1.0
