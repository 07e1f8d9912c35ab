"""Comparisons on the same images: paired intervals, McNemar's test, many tests at once.

statsmodels takes a second to import, so the functions that need it import it when called.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Reals = NDArray[np.float64]
    Answers = NDArray[np.bool_]


class Correction(StrEnum):
    """How p-values are adjusted for the number of comparisons."""

    HOLM = "holm"
    BENJAMINI_HOCHBERG = "bh"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Successes and failures of two models on the same images.

    Attributes:
        both: images on which both succeed.
        only_a: images on which only the first does.
        only_b: images on which only the second does.
        neither: images on which both fail.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    @classmethod
    def of(cls, a: Answers, b: Answers) -> PairedCounts:
        """Counts of two Boolean columns ``(n,)``."""
        both, neither = int((a & b).sum()), int((~a & ~b).sum())
        return cls(both, int((a & ~b).sum()), int((b & ~a).sum()), neither)

    @property
    def n(self) -> int:
        """Images."""
        return self.both + self.only_a + self.only_b + self.neither


def mcnemar_p_value(counts: PairedCounts) -> float:
    r"""p-value of McNemar's exact two-sided test that both models succeed equally often.

    Only the m images on which exactly one model succeeds matter:
    :math:`\min(1, 2 P[\mathrm{Bin}(m, 1/2) \le \min(n_a, n_b)])`. The images count as independent
    draws from a population.

    >>> mcnemar_p_value(PairedCounts(both=30, only_a=0, only_b=8, neither=2))
    0.0078125
    """
    from statsmodels.stats.contingency_tables import mcnemar

    table = [[counts.both, counts.only_a], [counts.only_b, counts.neither]]
    return float(mcnemar(table, exact=True).pvalue)


def adjusted_p_values(p_values: Sequence[float], correction: Correction) -> tuple[float, ...]:
    r"""``p_values`` adjusted for their number m, in the same order.

    With :math:`p_{(1)} \le \dots \le p_{(m)}`:

    .. math:: \text{Holm: } \max_{j \le i} \min(1, (m - j + 1) p_{(j)}), \qquad
              \text{Benjamini-Hochberg: } \min_{j \ge i} \min(1, m p_{(j)} / j)

    Rejecting every adjusted value of at most :math:`\alpha` keeps, for Holm, the probability of one
    or more false rejections at most :math:`\alpha` whatever the dependence of the tests (Holm 1979,
    Scandinavian Journal of Statistics 6, 65-70); for Benjamini-Hochberg, the expected share of
    false rejections among the rejections, if the tests are independent or positively dependent
    (Benjamini & Hochberg 1995, JRSS B 57, 289-300; Benjamini & Yekutieli 2001). ``NONE`` returns
    the p-values as they are.

    >>> adjusted_p_values([0.01, 0.5, 0.02], Correction.HOLM)
    (0.03, 0.5, 0.04)
    """
    if correction is Correction.NONE or not len(p_values):
        return tuple(p_values)
    from statsmodels.stats.multitest import multipletests

    method = {Correction.HOLM: "holm", Correction.BENJAMINI_HOCHBERG: "fdr_bh"}[correction]
    return tuple(float(p) for p in multipletests(p_values, method=method)[1])


def paired_interval(counts: PairedCounts, *, level: float) -> Reals:
    r"""Limits ``(lower, upper)`` of p_b - p_a, two proportions of the same images.

    Newcombe's method 10 (1998, Statistics in Medicine 17, 2635-2650): with Wilson limits
    :math:`l, u` of each proportion :math:`p` and :math:`\hat\phi` the (continuity-corrected)
    correlation of the two,

    .. math:: d_L = (p_b - p_a) - \sqrt{(p_b - l_b)^2
              - 2 \hat\phi (p_b - l_b)(u_a - p_a) + (u_a - p_a)^2}

    and likewise upwards. statsmodels has intervals of the difference for independent proportions
    only (``confint_proportions_2indep``), which are too wide for two models that err on the same
    images; where :math:`\hat\phi = 0` this one equals its method ``newcomb``.

    Args:
        counts: successes of the two models.
        level: of the interval.
    """
    both, only_a, only_b, neither = counts.both, counts.only_a, counts.only_b, counts.neither
    n = counts.n
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = (wilson_interval(p, n, level=level) for p in (p_a, p_b))
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = float(both * neither - only_a * only_b)
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross
    phi = cross / product**0.5 if product else 0.0
    down_b, up_a, up_b, down_a = p_b - low_b, high_a - p_a, high_b - p_b, p_a - low_a
    down = (down_b**2 - 2 * phi * down_b * up_a + up_a**2) ** 0.5
    up = (up_b**2 - 2 * phi * up_b * down_a + down_a**2) ** 0.5
    return np.array([p_b - p_a - down, p_b - p_a + up])


def wilson_interval(p: float, n: int, *, level: float) -> tuple[float, float]:
    """Wilson's limits of a proportion ``p`` of ``n`` images.

    As ``proportion_confint(..., method="wilson")`` of statsmodels up to the last digit, without its
    import.
    """
    z = float(special.ndtri((1 + level) / 2))
    centre = p + z**2 / (2 * n)
    reach = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return (centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n)


def student_interval(differences: Reals, gap: float, *, level: float) -> tuple[float, float]:
    """Student's limits of the mean difference ``gap``; NaN for fewer than two ``differences``."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    standard_error = float(np.std(differences, ddof=1)) / len(differences) ** 0.5
    reach = float(special.stdtrit(len(differences) - 1, (1 + level) / 2)) * standard_error
    return gap - reach, gap + reach
