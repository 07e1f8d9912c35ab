from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from robcert.certify.errors import InvalidParameterError
from robcert.certify.stats.intervals import (
    binomial_quantile,
    binomial_tail,
    clopper_pearson_lower,
    clopper_pearson_upper,
    mean_share,
    population_lower,
    proportion,
    rejection_boundary,
    two_sided_p_value,
)


def test_all_successes_have_a_closed_form() -> None:
    assert clopper_pearson_lower(100_000, 100_000, 1e-3) == pytest.approx(1e-3**1e-5, rel=1e-13)
    assert clopper_pearson_lower(100_000, 100_000, 1e-3) == pytest.approx(0.99993092483, abs=1e-11)
    assert clopper_pearson_lower(100, 100, 1e-3) == pytest.approx(0.933254, abs=1e-6)


def test_published_limits() -> None:
    assert clopper_pearson_lower(99_000, 100_000, 1e-3) == pytest.approx(0.98898934, abs=1e-8)
    assert clopper_pearson_lower(90_000, 100_000, 1e-3) == pytest.approx(0.89703650, abs=1e-8)
    assert clopper_pearson_lower(50_600, 100_000, 1e-3) == pytest.approx(0.50110899, abs=1e-8)
    assert clopper_pearson_lower(0, 7, 1e-3) == 0
    assert clopper_pearson_upper(7, 7, 1e-3) == 1


@given(st.integers(1, 2000), st.data(), st.floats(1e-5, 0.5))
def test_limits_invert_the_binomial_tails(trials: int, data: st.DataObject, alpha: float) -> None:
    k = data.draw(st.integers(1, trials))
    lower = clopper_pearson_lower(k, trials, alpha)
    assert stats.binom.sf(k - 1, trials, lower) == pytest.approx(alpha, rel=1e-6)
    upper = clopper_pearson_upper(trials - k, trials, alpha)
    assert upper == pytest.approx(1 - lower, abs=1e-12)


def test_arrays_broadcast_and_agree_with_scalars() -> None:
    k = np.array([0, 3, 10])
    lower = clopper_pearson_lower(k, 10, np.array([0.01, 0.02, 0.03]))
    assert lower.tolist() == [
        0.0,
        clopper_pearson_lower(3, 10, 0.02),
        clopper_pearson_lower(10, 10, 0.03),
    ]
    assert clopper_pearson_upper(k, 10, 0.05)[2] == 1


def test_boundaries_of_the_fixed_sample_test() -> None:
    thresholds = [float(special.ndtr(z)) for z in (0, 0.5, 1, 1.5, 2, 3)]
    at_1e3 = [rejection_boundary(100_000, p, 1e-3) for p in thresholds]
    at_5e4 = [rejection_boundary(100_000, p, 5e-4) for p in thresholds]
    assert at_1e3 == [50490, 69598, 84492, 93563, 97870, 99900]
    assert at_5e4 == [50521, 69627, 84515, 93579, 97880, 99903]


@given(st.integers(1, 500), st.floats(0.01, 0.999), st.floats(1e-4, 0.3))
def test_boundary_is_where_the_lower_limit_passes_p(trials: int, p: float, alpha: float) -> None:
    k = rejection_boundary(trials, p, alpha)
    if k <= trials:
        assert clopper_pearson_lower(k, trials, alpha) >= p - 1e-12
    assert clopper_pearson_lower(k - 1, trials, alpha) < p + 1e-12


def test_a_threshold_of_one_is_never_reached() -> None:
    assert rejection_boundary(1000, float(special.ndtr(9.0)), 1e-3) == 1001


@given(st.integers(0, 60), st.integers(1, 50), st.floats(0.01, 0.99))
def test_tail_is_that_of_scipy(k: int, n: int, p: float) -> None:
    assert float(binomial_tail(k, n, p)) == pytest.approx(stats.binom.sf(k - 1, n, p), abs=1e-12)


def test_two_sided_p_values() -> None:
    expected = {60: 0.056888, 64: 0.0066371, 67: 8.737e-4, 68: 4.088e-4}
    for k, value in expected.items():
        assert two_sided_p_value(k, 100 - k) == pytest.approx(value, rel=1e-4)
        assert two_sided_p_value(k, 100 - k) == pytest.approx(
            stats.binomtest(k, 100).pvalue, rel=1e-9
        )
    assert two_sided_p_value(5, 5) == 1
    assert two_sided_p_value(0, 0) == 1


def test_data_set_statements() -> None:
    assert binomial_quantile(500, 1e-3, 0.05) == 2
    assert binomial_quantile(500, 1e-3, 1e-3) == 4
    assert binomial_quantile(10_000, 1e-3, 0.05) == 15
    assert binomial_quantile(0, 1e-3, 0.05) == 0
    assert [
        round(population_lower(c, m, alpha=1e-3, gamma=0.05), 4)
        for c, m in [(250, 500), (450, 500), (65, 100), (500, 500), (0, 9)]
    ] == [0.4618, 0.8750, 0.5635, 0.9940, 0.0]


def test_intervals_of_shares() -> None:
    half, none, empty = proportion(250, 500), proportion(0, 500), proportion(0, 0)
    assert (round(half.lower, 4), round(half.upper, 4)) == (0.4553, 0.5447)
    assert (none.lower, round(none.upper, 4)) == (0.0, 0.0074)
    assert (empty.lower, empty.upper) == (0.0, 1.0)
    assert np.isnan(empty.value)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_alpha_outside_the_unit_interval_is_named(alpha: float) -> None:
    with pytest.raises(InvalidParameterError, match=r"^alpha must lie in the open interval"):
        clopper_pearson_lower(1, 2, alpha)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="got 3 of 2"):
        clopper_pearson_lower(3, 2, 0.05)


def test_the_mean_of_shares_that_are_counts_is_a_proportion() -> None:
    shares = np.repeat([1.0, 0.0], [3, 7])
    assert mean_share(shares) == proportion(3, 10)
    assert np.isnan(mean_share(np.array([])).value)


@pytest.mark.parametrize("parameters", [(0.3, 0.3), (2.0, 8.0), (0.05, 1.0)])
def test_limits_of_a_mean_share_hold(parameters: tuple[float, float]) -> None:
    rng, trials = np.random.default_rng(0), 2000
    true = parameters[0] / sum(parameters)
    found = [mean_share(rng.beta(*parameters, 40)) for _ in range(trials)]
    covered = np.mean([one.lower <= true <= one.upper for one in found])
    assert covered >= 0.95
    assert np.mean([one.value for one in found]) == pytest.approx(true, abs=0.01)
