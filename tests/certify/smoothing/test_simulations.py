"""A hundred thousand simulated images exactly on a threshold, for the rules that have no recursion.

The modes grid and cohen, exact and open-ended, are simulated beside their exact errors in
test_smoothing_sequential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import special, stats

from robcert.certify.smoothing.certificate import two_class_radius
from robcert.certify.smoothing.rules import PredictionRule, RunnerUpRule
from robcert.certify.smoothing.sequential import (
    Schedule,
    equal_spending,
    geometric_analyses,
    half_spending,
)
from robcert.certify.smoothing.settings import Mode, SmoothingSettings, two_stage_rule
from robcert.certify.stats.intervals import two_sided_p_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.smoothing.rules import Rule

ALPHA = 1e-3
IMAGES = 100_000


def paths_of(plan: Schedule, p: float) -> NDArray[np.int64]:
    """Counts at the analyses ``(IMAGES, K)``."""
    steps = np.diff(plan.analyses, prepend=0)
    rng = np.random.default_rng(7)
    return np.cumsum(rng.binomial(steps, p, size=(IMAGES, len(steps))), axis=1)


def most_wrong(images: int) -> float:
    """More wrong certificates than this have probability 1e-6 if the error is alpha."""
    return float(stats.binom.isf(1e-6, images, ALPHA))


@pytest.mark.parametrize("p", [0.52, 0.9, 0.999])
def test_two_stage_certificates_of_1e5_images(p: float) -> None:
    """Image by image: a pilot chooses the class and n, fresh draws give the radius.

    Pilots are drawn for all; the rule is made once for each pilot that occurs.
    """
    design = SmoothingSettings(sigma=1.0, n=20_000, mode=Mode.RADIUS, tolerance=0.05, pilot=500)
    rng = np.random.default_rng(7)
    pilots, images = np.unique(rng.binomial(design.pilot, p, size=IMAGES), return_counts=True)
    wrong = 0
    for k, many in zip(pilots.tolist(), images.tolist(), strict=True):
        rule = two_stage_rule(design, np.array([k, design.pilot - k]))
        own = k >= design.pilot - k  # class 0 was chosen
        chance = p if own else 1 - p
        counts = rng.binomial(rule.schedule.last, chance, size=many)
        least = first_certified_beyond(rule, chance)
        wrong += int((counts >= least).sum())
    assert wrong <= most_wrong(IMAGES)


def first_certified_beyond(rule: Rule, p: float) -> int:
    """Smallest count at the only analysis whose radius exceeds the true one of ``p``."""
    n = rule.schedule.last
    true = max(float(special.ndtri(p)), 0.0)

    def beyond(k: int) -> bool:
        verdict = rule.judge(np.array([[k, n - k]]), 0)
        return verdict.certified and verdict.radius > true

    low, high = 0, n + 1  # beyond(low) is false; beyond is monotone
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return high


@pytest.mark.slow
@pytest.mark.parametrize("p", [(0.45, 0.35, 0.2), (0.6, 0.3, 0.1), (0.95, 0.04, 0.01)])
def test_runner_up_certificates_of_1e5_images(p: tuple[float, float, float]) -> None:
    """A radius above the true sigma / 2 (Phi^-1(p_A) - Phi^-1(p_B)) at any analysis is wrong."""
    plan = half_spending(geometric_analyses(2000, block=64), ALPHA)
    true = two_class_radius(p[0], p[1])
    rng = np.random.default_rng(7)
    counts = np.zeros((IMAGES, 3), np.int64)
    wrong = np.zeros(len(counts), bool)
    seen = 0
    for stop, spending in zip(plan.analyses, plan.spending, strict=True):
        counts += rng.multinomial(stop - seen, p, size=len(counts))
        seen = stop
        rule = RunnerUpRule(Schedule((stop,), (spending,)))
        found, which = np.unique(counts, axis=0, return_inverse=True)
        beyond = np.array([rule.judge(one[None], 0).radius > true for one in found])
        wrong |= beyond[which.reshape(-1)]
    assert 0 < wrong.sum() <= most_wrong(IMAGES)


@pytest.mark.parametrize("p", [0.5, 0.499])
def test_predictions_of_1e5_images_at_a_tie(p: float) -> None:
    """At p = 1/2 both classes are wrong, a little below it the first is."""
    plan = equal_spending(geometric_analyses(20_000, block=64), ALPHA)
    least = [
        next(k for k in range(n // 2, n + 2) if k > n or two_sided_p_value(k, n - k) <= a)
        for n, a in zip(plan.analyses, plan.spending, strict=True)
    ]
    rule = PredictionRule(plan)
    for n, k, j in zip(plan.analyses, least, range(len(least)), strict=True):  # the rule's own ends
        for count, certain in ((k, True), (k - 1, False)):
            path = np.full((j + 1, 2), [n - n // 2, n // 2])
            path[-1] = count, n - count
            assert rule.judge(path).certified == certain
    paths = paths_of(plan, p)
    up, down = paths >= np.array(least), np.array(plan.analyses) - paths >= np.array(least)
    first = [np.where(side.any(1), side.argmax(1), len(least)) for side in (up, down)]
    wrong = first[0] < first[1]
    if p == 0.5:
        wrong |= first[1] < first[0]
    assert int(wrong.sum()) <= most_wrong(IMAGES)
