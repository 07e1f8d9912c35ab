"""The rule that judges a claim, stated before the experiments ran."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Judgement = Literal["supported", "contradicted", "inconclusive"]

LEAST_SEEDS = 3
DEVIATIONS = 2.0

RULE = (
    f"A claim is *supported* if its gap is above 0 with each of at least {LEAST_SEEDS} seeds and "
    f"its mean is more than {DEVIATIONS:g} standard deviations above 0, *contradicted* if the same "
    "holds below 0, else *inconclusive*."
)


def verdict(gaps: Sequence[float]) -> Judgement:
    """Judgement on a claim from its gap with each seed, positive where the claim holds.

    >>> verdict([0.1, 0.12, 0.11]), verdict([-0.1, -0.12, -0.11]), verdict([0.1, -0.01, 0.1])
    ('supported', 'contradicted', 'inconclusive')
    """
    if len(gaps) < LEAST_SEEDS:
        return "inconclusive"
    if abs(fmean(gaps)) <= DEVIATIONS * stdev(gaps):
        return "inconclusive"
    if min(gaps) > 0:
        return "supported"
    return "contradicted" if max(gaps) < 0 else "inconclusive"
