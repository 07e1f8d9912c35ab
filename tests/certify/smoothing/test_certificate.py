from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.smoothing.certificate import (
    ABSTAIN,
    l2_certificate,
    largest_radius,
    norm_factor,
    prediction,
    runner_up_limit,
    standard_radius,
    threshold,
    two_class_radius,
)
from robcert.certify.stats.intervals import clopper_pearson_lower


def test_published_radii() -> None:
    assert l2_certificate(100_000, 100_000, sigma=1.0, alpha=1e-3).radius == pytest.approx(
        3.81145656, abs=1e-8
    )
    assert l2_certificate(99_000, 100_000, sigma=0.5, alpha=1e-3).radius == pytest.approx(
        0.5 * 2.29000, abs=1e-5
    )
    largest = [largest_radius(n, sigma=1.0, alpha=1e-3) for n in (1000, 10_000, 100_000)]
    assert largest == pytest.approx([2.463, 3.199, 3.811], abs=5e-4)


@pytest.mark.parametrize("sigma", [0.12, 0.25, 1.0])
@pytest.mark.parametrize("distance", [0.1, 0.5])
def test_half_space_radius_tends_to_its_distance(sigma: float, distance: float) -> None:
    trials = 10**9
    top_count = math.floor(trials * threshold(distance, sigma=sigma))
    radius = l2_certificate(top_count, trials, sigma=sigma, alpha=1e-3).radius
    assert radius <= distance
    assert radius == pytest.approx(distance, rel=2e-3)


def test_half_space_radii_are_rarely_too_large() -> None:
    # spec F13: distance 0.6, sigma 0.5. 20,000 certificates a sample size; more than 42 wrong at
    # alpha = 1e-3 has probability 5e-6.
    p, rng = threshold(0.6, sigma=0.5), np.random.default_rng(1)
    assert p == pytest.approx(0.884930, abs=1e-6)
    for n, mean in ((1000, 0.5203), (10_000, 0.5747), (100_000, 0.5920)):
        lower = clopper_pearson_lower(rng.binomial(n, p, size=20_000), n, 1e-3)
        radius = 0.5 * special.ndtri(lower)
        assert (radius > 0.6).sum() <= 42
        assert radius.mean() == pytest.approx(mean, abs=1e-3)


def test_slab_is_certified_below_its_true_distance() -> None:
    # spec F13b: -0.4 < x < 0.7, sigma 0.5; the true radius is 0.4.
    p = float(special.ndtr(0.7 / 0.5) - special.ndtr(-0.4 / 0.5))
    assert p == pytest.approx(0.707388, abs=1e-6)
    assert 0.5 * standard_radius(p) == pytest.approx(0.272885, abs=1e-6)


def test_a_class_without_majority_abstains() -> None:
    assert l2_certificate(500, 1000, sigma=0.5, alpha=1e-3).radius == 0
    assert l2_certificate(0, 1000, sigma=0.5, alpha=1e-3).radius == 0


def test_limits_on_both_sides_in_known_cases() -> None:
    # stats.md C: n = 1e5, ten classes, the rest spread evenly; radii in units of sigma.
    for p_a, p_b, expected in (
        (0.45, 0.20, 0.343),
        (0.55, 0.20, 0.468),
        (0.60, 0.38, 0.265),
        (0.70, 0.10, 0.886),
        (0.90, 0.05, 1.441),
    ):
        rest = (1 - p_a - p_b) / 8
        counts = np.round(100_000 * np.array([p_a, p_b, *[rest] * 8])).astype(np.int64)
        p_lower = clopper_pearson_lower(int(counts[0]), int(counts.sum()), 5e-4)
        upper = runner_up_limit(counts, 0, alpha=5e-4)
        assert two_class_radius(p_lower, upper) == pytest.approx(expected, abs=2e-3)


@given(st.integers(1, 400), st.integers(0, 400))
def test_two_classes_know_no_runner_up(top: int, other: int) -> None:
    counts = np.array([top, other])
    p_lower = clopper_pearson_lower(top, top + other, 5e-4)
    upper = runner_up_limit(counts, 0, alpha=5e-4)
    assert upper == pytest.approx(1 - p_lower, abs=1e-9)
    assert two_class_radius(p_lower, upper) == pytest.approx(standard_radius(p_lower), abs=1e-6)


@given(st.lists(st.integers(0, 300), min_size=3, max_size=6).filter(sum))
def test_the_runner_up_never_shrinks_a_radius(values: list[int]) -> None:
    counts = np.array(values)
    p_lower = clopper_pearson_lower(int(counts[0]), int(counts.sum()), 5e-4)
    upper = runner_up_limit(counts, 0, alpha=5e-4)
    assert two_class_radius(p_lower, upper) >= standard_radius(p_lower) - 1e-9


def test_prediction_needs_a_clear_winner() -> None:
    # p-values 8.7e-4 and 4.1e-4 at 67 and 68 of 100, and 0.0066 at 64.
    assert prediction(np.array([0, 67, 33]), alpha=1e-3) == 1
    assert prediction(np.array([64, 0, 36]), alpha=1e-3) == ABSTAIN
    assert prediction(np.array([68, 32]), alpha=5e-4) == 0
    assert prediction(np.array([67, 33]), alpha=5e-4) == ABSTAIN
    assert stats.binomtest(67, 100).pvalue == pytest.approx(8.737e-4, rel=1e-3)


def test_other_norms() -> None:
    assert norm_factor(Norm.L1, 784) == 1
    assert norm_factor(Norm.L2, 784) == 1
    assert norm_factor(Norm.LINF, 784) * 0.88 == pytest.approx(8 / 255, abs=1e-4)


def test_bad_numbers_are_named() -> None:
    with pytest.raises(InvalidParameterError, match="sigma must be a positive"):
        l2_certificate(1, 2, sigma=0, alpha=0.1)
    with pytest.raises(InvalidParameterError, match="n must be at least 1"):
        largest_radius(0, sigma=1, alpha=0.1)
