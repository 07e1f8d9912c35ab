from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from robcert.certify.smoothing.certificate import two_class_radius
from robcert.certify.smoothing.rules import (
    GroupSequentialRule,
    PredictionRule,
    RunnerUpRule,
    UnionBoundRule,
)
from robcert.certify.smoothing.sequential import (
    Schedule,
    crossing_probability,
    decide,
    equal_spending,
    geometric_analyses,
    group_sequential_boundaries,
    half_spending,
    open_boundaries,
    open_ended_analyses,
    open_spending,
    union_bound_boundaries,
)
from robcert.certify.stats.intervals import rejection_boundary, two_sided_p_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ALPHA = 1e-3
ANALYSES = geometric_analyses(100_000)
BLOCK_ANALYSES = geometric_analyses(100_000, block=64)
PROBABILITIES = (0.5, 0.6, 0.8, 0.9, 0.99, 0.999, 0.9999)
GRID = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def attainable(sigma: float, plan: Schedule) -> tuple[float, ...]:
    units = [radius / sigma for radius in GRID]
    return tuple(
        z
        for z in units
        if rejection_boundary(plan.last, float(special.ndtr(z)), plan.spending[-1]) <= plan.last
    )


def test_looks_and_spending() -> None:
    plan = half_spending(ANALYSES, ALPHA)
    assert len(ANALYSES) == 32
    assert ANALYSES[:10] == (32, 42, 55, 71, 92, 119, 155, 201, 262, 340)
    assert ANALYSES[-3:] == (64493, 83840, 100000)
    assert sum(plan.spending) == pytest.approx(ALPHA)
    assert plan.spending[0] == pytest.approx(1.6129e-5, rel=1e-4)
    assert plan.spending[-1] == 5e-4
    assert sum(equal_spending(ANALYSES, ALPHA).spending) == pytest.approx(ALPHA)
    assert sum(open_spending(tuple(range(1, 10_000)), ALPHA).spending) < ALPHA


@given(st.integers(1, 200_000), st.sampled_from([1, 64]))
def test_looks_increase_in_whole_blocks_and_end_at_n(n: int, block: int) -> None:
    analyses = geometric_analyses(n, block=block)
    assert analyses[-1] == n
    assert all(a < b for a, b in pairwise(analyses))
    assert all(n % block == 0 for n in analyses[:-1])


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.sampled_from([1, 64]))
def test_open_ended_runs_share_one_sequence_of_looks(a: int, b: int, block: int) -> None:
    """Else an analysis of the shorter run would spend alpha that the longer one spends again."""
    short, long = (open_ended_analyses(n, block=block) for n in sorted((a, b)))
    assert long[: len(short)] == short
    assert short[-1] >= min(a, b)
    assert short[:-1] == tuple(n for n in short if n < min(a, b))


def test_union_bound_boundary_at_one_sigma() -> None:
    accept = union_bound_boundaries(half_spending(ANALYSES, ALPHA), (special.ndtr(1.0),)).accept[0]
    by_look = dict(zip(ANALYSES, accept.tolist(), strict=True))
    assert [by_look[n] for n in (55, 71, 119, 155)] == [56, 71, 115, 148]


@pytest.mark.parametrize("analyses", [ANALYSES, BLOCK_ANALYSES])
@pytest.mark.parametrize("p", PROBABILITIES)
def test_error_of_every_rule_is_at_most_alpha(analyses: tuple[int, ...], p: float) -> None:
    """Exact: the probability of ever certifying at the threshold itself."""
    half, endless = half_spending(analyses, ALPHA), open_spending(analyses, ALPHA)
    union = crossing_probability(half, union_bound_boundaries(half, (p,)).accept[0], p)
    group = crossing_probability(half, group_sequential_boundaries(half, (p,)).accept[0], p)
    open_ended = crossing_probability(endless, open_boundaries(endless, (p,)).accept[0], p)
    fixed = Schedule((analyses[-1],), (ALPHA,))
    cohen = crossing_probability(fixed, union_bound_boundaries(fixed, (p,)).accept[0], p)
    assert max(union, group, open_ended, cohen) <= ALPHA
    assert group >= union


@pytest.mark.parametrize(
    ("p", "union", "group"),
    [(0.5, 0.755, 0.992), (0.9, 0.701, 0.987), (0.99, 0.588, 0.985), (0.9999, 0.499, 0.609)],
)
def test_exact_errors_are_the_known_ones(p: float, union: float, group: float) -> None:
    plan = half_spending(ANALYSES, ALPHA)
    for boundaries, expected in (
        (union_bound_boundaries(plan, (p,)), union),
        (group_sequential_boundaries(plan, (p,)), group),
    ):
        error = crossing_probability(plan, boundaries.accept[0], p)
        assert error * 1e3 == pytest.approx(expected, abs=6e-4)


def test_the_checker_catches_repeated_clopper_pearson() -> None:
    wrong = Schedule(ANALYSES, (ALPHA,) * len(ANALYSES))
    error = crossing_probability(wrong, union_bound_boundaries(wrong, (0.5,)).accept[0], 0.5)
    assert error == pytest.approx(1.49e-2, rel=5e-3)
    assert error > 10 * ALPHA


def test_recursion_agrees_with_enumeration() -> None:
    plan, accept, p = Schedule((3, 5), (0.1, 0.1)), np.array([3, 4]), 0.6
    paths = [[b >> i & 1 for i in range(5)] for b in range(32)]
    exact = sum(
        p ** sum(path) * (1 - p) ** (5 - sum(path))
        for path in paths
        if sum(path[:3]) >= 3 or sum(path) >= 4
    )
    assert crossing_probability(plan, accept, p) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5, 1.0])
def test_draws_of_a_constant_classifier_are_known(sigma: float) -> None:
    expected = {0.12: (746, 0.25), 0.25: (10278, 0.75), 0.5: (49610, 1.75), 1.0: (574, 2.0)}
    plan = half_spending(ANALYSES, ALPHA)
    rule = UnionBoundRule(plan, attainable(sigma, plan))
    paths = np.array([plan.analyses, [0] * len(plan.analyses)])
    decisions = decide(rule.boundaries, paths)
    n_used = [plan.analyses[seen - 1] for seen in decisions.analyses]
    assert n_used == [expected[sigma][0], 32]
    assert GRID[decisions.passed[0] - 1] == expected[sigma][1]
    assert decisions.passed[1] == 0


def test_a_threshold_that_is_one_in_floating_point_is_never_passed() -> None:
    plan = half_spending(ANALYSES, ALPHA)
    p = float(special.ndtr(2 / 0.12))
    assert p == 1.0
    for table in (union_bound_boundaries(plan, (p,)), group_sequential_boundaries(plan, (p,))):
        assert decide(table, np.array([plan.analyses])).passed.tolist() == [0]


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.floats(0.3, 1.0))
def test_stopping_early_only_loses_certificates(seed: int, p: float) -> None:
    plan = half_spending(geometric_analyses(20_000), ALPHA)
    table = GroupSequentialRule(plan, (0.0, 0.5, 1.0, 2.0)).boundaries
    paths = simulated(plan, p, size=20, seed=seed)
    never = type(table)(table.accept, np.full_like(table.futile, -1))
    assert (decide(table, paths).passed <= decide(never, paths).passed).all()


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.floats(0.4, 1.0), st.sampled_from([0.25, 0.5]))
def test_union_bound_radius_and_boundaries_say_the_same(seed: int, p: float, sigma: float) -> None:
    plan = half_spending(geometric_analyses(20_000, block=64), ALPHA)
    rule = UnionBoundRule(plan, attainable(sigma, plan))
    for path in simulated(plan, p, size=5, seed=seed):
        stop = int(decide(rule.boundaries, path[None]).analyses[0])
        seen = path[:stop]
        counts = np.stack([seen, np.array(plan.analyses[:stop]) - seen], axis=1)
        verdict = rule.judge(counts, 0)
        passed = int(decide(rule.boundaries, seen[None]).passed[0])
        assert verdict.done
        assert passed == sum(verdict.radius >= radius for radius in rule.radii)


@given(st.floats(0.01, 2.0), st.floats(0.01, 3.0))
def test_exact_designs_certify_radii_to_the_last_digit(sigma: float, radius: float) -> None:
    plan = half_spending((8, 16), 0.9)  # two draws certify almost any radius at this alpha
    rule = GroupSequentialRule(plan, (radius,), sigma)
    verdict = rule.judge(np.array([[8, 0], [16, 0]]), 0)
    assert verdict.radius == (radius if verdict.certified else 0.0)


def simulated(plan: Schedule, p: float, *, size: int, seed: int) -> NDArray[np.int64]:
    """Counts at the analyses ``(size, K)``."""
    steps = np.diff(plan.analyses, prepend=0)
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.binomial(steps, p, size=(size, len(steps))), axis=1)


@pytest.mark.parametrize("z", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["union", "group", "open"])
def test_images_exactly_on_a_threshold(kind: str, z: float) -> None:
    """1e5 images with p_A = Phi(z), step-down and futility included.

    More than 152 certified at z has probability 1e-6 if the error is alpha; the known errors are
    below that.
    """
    radii = (0.0, 0.5, 1.0, 2.0, 3.0)
    endless = kind == "open"
    spend = open_spending if endless else half_spending
    plan = spend(geometric_analyses(20_000, block=64), ALPHA)
    rule = (
        GroupSequentialRule(plan, radii)
        if kind == "group"
        else UnionBoundRule(plan, radii, open_ended=endless)
    )
    paths = simulated(plan, float(special.ndtr(z)), size=100_000, seed=7)
    wrong = int((decide(rule.boundaries, paths).passed > radii.index(z)).sum())
    assert wrong <= stats.binom.isf(1e-6, 100_000, ALPHA)


def test_repeated_clopper_pearson_is_caught_by_simulation_too() -> None:
    analyses = geometric_analyses(20_000, block=64)
    wrong_plan = Schedule(analyses, (ALPHA,) * len(analyses))
    table = union_bound_boundaries(wrong_plan, (0.5,))
    paths = simulated(wrong_plan, 0.5, size=100_000, seed=7)
    assert decide(table, paths).passed.sum() > 5 * stats.binom.isf(1e-6, 100_000, ALPHA)


def test_runner_up_error_is_at_most_alpha_exactly() -> None:
    """Every path of a three-class image through a small schedule, with its probability."""
    alpha = 0.1
    plan = half_spending((10, 20, 30), alpha)
    for p in ((0.5, 0.3, 0.2), (0.4, 0.35, 0.25), (0.7, 0.15, 0.15)):
        true = two_class_radius(p[0], max(p[1:]))
        law = {((0, 0, 0), False): 1.0}
        for seen in range(len(plan.analyses)):
            law = advance(law, p, partial(too_large, plan.spending[seen], true))
        error = sum(mass for (_, wrong), mass in law.items() if wrong)
        assert sum(law.values()) == pytest.approx(1)
        assert 0 < error <= alpha


Counts3 = tuple[int, int, int]
Law = dict[tuple[Counts3, bool], float]


def too_large(spending: float, true: float, counts: Counts3) -> bool:
    """Whether this analysis alone claims more than the true radius."""
    rule = RunnerUpRule(Schedule((sum(counts),), (spending,)))
    return rule.judge(np.array([counts]), 0).radius > true


def advance(law: Law, p: tuple[float, float, float], wrong_at: Callable[[Counts3], bool]) -> Law:
    """Law after ten more draws."""
    steps = [
        ((a, b, 10 - a - b), float(stats.multinomial.pmf((a, b, 10 - a - b), 10, p)))
        for a in range(11)
        for b in range(11 - a)
    ]
    after: Law = {}
    verdicts: dict[Counts3, bool] = {}
    for (counts, wrong), mass in law.items():
        for step, chance in steps:
            now = (counts[0] + step[0], counts[1] + step[1], counts[2] + step[2])
            if now not in verdicts:
                verdicts[now] = wrong_at(now)
            key = (now, wrong or verdicts[now])
            after[key] = after.get(key, 0.0) + mass * chance
    return after


def test_prediction_error_at_a_tie_is_at_most_alpha() -> None:
    """Both classes are wrong at a tie; each side is crossed with at most half of alpha."""
    plan = equal_spending(geometric_analyses(100_000, block=64), ALPHA)
    accept = [
        min(k for k in range(n // 2, n + 2) if k > n or two_sided_p_value(k, n - k) <= a)
        for n, a in zip(plan.analyses, plan.spending, strict=True)
        if n < 3000
    ]
    short = Schedule(plan.analyses[: len(accept)], plan.spending[: len(accept)])
    assert 0 < 2 * crossing_probability(short, np.array(accept), 0.5) <= ALPHA


def test_prediction_stops_as_soon_as_the_winner_is_clear() -> None:
    rule = PredictionRule(equal_spending((64, 128), ALPHA))
    assert rule.judge(np.array([[60, 4]])).done
    unclear = rule.judge(np.array([[40, 24]]))
    assert not unclear.done
    capped = rule.judge(np.array([[40, 24], [70, 58]]))
    assert capped.done
    assert not capped.certified
