"""The e-value of the sign test: its formula, and the probability that it is ever large."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate

from robcert.certify.stats import sign_test_log_e_value


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 1), (7, 2), (3, 9), (40, 30)])
def test_it_is_the_mean_capital_over_uniform_bets(wins: int, losses: int) -> None:
    def capital(q: float) -> float:
        return 2 * (2 * q) ** wins * (2 * (1 - q)) ** losses

    expected, _ = integrate.quad(capital, 0.5, 1.0, epsrel=1e-10)
    assert math.exp(sign_test_log_e_value(wins, losses)) == pytest.approx(expected, rel=1e-8)


def test_extreme_counts_have_values() -> None:
    assert sign_test_log_e_value(0, 10**6) == -math.inf
    assert sign_test_log_e_value(10**6, 0) == pytest.approx(10**6 * math.log(2), rel=1e-4)
    assert sign_test_log_e_value(5000, 5000) < 0


def test_one_more_image_does_not_raise_it_on_average() -> None:
    """A supermartingale where both models succeed equally often: the mean of both outcomes."""
    for wins in range(12):
        for losses in range(12):
            now = math.exp(sign_test_log_e_value(wins, losses))
            later = [
                sign_test_log_e_value(wins + 1, losses),
                sign_test_log_e_value(wins, losses + 1),
            ]
            assert sum(map(math.exp, later)) / 2 <= now * (1 + 1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_it_ever_reaches_one_over_alpha_with_at_most_that_probability(alpha: float) -> None:
    draws = np.random.default_rng(0).random((1500, 600)) < 0.5
    reached = 0
    values = {
        (w, n - w): sign_test_log_e_value(w, n - w) >= -math.log(alpha)
        for n in range(601)
        for w in range(n // 2, n + 1)
    }
    for path in draws:
        wins = np.cumsum(path)
        reached += any(values.get((int(w), n - int(w)), False) for n, w in enumerate(wins, 1))
    assert reached / len(draws) <= alpha
    assert reached > 0
