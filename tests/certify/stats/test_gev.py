"""Laws, L-moments and likelihoods against closed forms, finite differences and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import OptimizeResult

from robcert.certify.stats.gev import Array, Law, anderson_darling, l_moment_fit, l_moments
from robcert.certify.stats.gev_fit import (
    SHAPE_BOX,
    Likelihood,
    maximum_likelihood,
    minimise,
    start_values,
)
from robcert.certify.stats.gev_limits import quantile_limit


def law(location: float, scale: float, shape: float) -> Law:
    return Law(np.array([location]), np.array([scale]), np.array([shape]))


def even_sample(shape: float, n: int = 200) -> Array:
    """Quantiles of GEV(0, 1, shape) at (i - 1/2) / n: a sample without chance, ``(1, n)``."""
    levels = (np.arange(1, n + 1) - 0.5) / n
    return np.array([[law(0, 1, shape).quantile(1 - level)[0] for level in levels]])


@pytest.mark.parametrize(
    ("location", "scale", "shape", "expected"),
    [
        (0, 1, -0.7, 1.417220),
        (0, 1, -0.4, 2.342229),
        (0, 1, -0.1, 4.987877),
        (0, 1, 0.0, 6.907255),
        (0, 1, 0.2, 14.903367),
        (2, 0.5, -0.2, 3.871966),
        (2, 0.5, 0.0, 5.453628),
        (2, 0.5, 0.2, 9.451684),
        (1, 2, -0.5, 4.873477),
        (1, 2, -0.2, 8.487862),
        (1, 2, 0.0, 14.814510),
        (1, 2, 0.1, 20.903250),
    ],
)
def test_quantile(location: float, scale: float, shape: float, expected: float) -> None:
    value = law(location, scale, shape).quantile(0.001)[0]
    assert value == pytest.approx(expected, rel=1e-6)
    assert value == pytest.approx(stats.genextreme.isf(1e-3, -shape, location, scale), rel=1e-9)


def test_quantile_is_continuous_where_the_shape_is_zero() -> None:
    middle = law(0, 1, 0.0).quantile(0.001)[0]
    for shape in (-1e-9, 1e-9, -1e-4, 1e-4):
        slope = 6.907255**2 / 2
        expected = middle + slope * shape
        assert law(0, 1, shape).quantile(0.001)[0] == pytest.approx(expected, rel=1e-7)


def test_endpoint_is_the_quantile_at_exceedance_zero() -> None:
    assert law(0, 1, -0.4).quantile(0)[0] == pytest.approx(2.5)
    assert law(2, 0.5, -0.2).quantile(0)[0] == pytest.approx(4.5)


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.3])
def test_draws_follow_the_law(shape: float) -> None:
    """Kolmogorov-Smirnov at 1e-3: a fixed seed, so it fails always or never."""
    draws = law(1, 2, shape).samples(2000, np.random.default_rng(0))[0]
    assert stats.kstest(draws, stats.genextreme(-shape, 1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [-0.3, 0.0, 1e-5, 0.2])
@pytest.mark.parametrize("level", [0.0, 6.9])
def test_derivatives_are_those_of_the_value(shape: float, level: float) -> None:
    """Central differences of step h err by h² + 1e-14 / h, relative to the value."""
    x = law(0, 1, -0.1).samples(50, np.random.default_rng(1))
    likelihood = Likelihood(log_level=level)
    theta = np.array([[0.1 + level, 0.6, shape]])
    gradient, hessian = likelihood.derivatives(x, theta)
    h = 1e-5
    for i, step in enumerate(np.eye(3) * h):
        upper, lower = theta + step, theta - step
        difference = (likelihood.value(x, upper) - likelihood.value(x, lower)) / (2 * h)
        assert gradient[0, i] == pytest.approx(difference[0], rel=1e-5, abs=1e-5)
        upper_gradient, lower_gradient = (likelihood.derivatives(x, t)[0] for t in (upper, lower))
        row = (upper_gradient - lower_gradient)[0] / (2 * h)
        assert hessian[0, i] == pytest.approx(row, rel=1e-5, abs=1e-4)


def test_value_is_scipys() -> None:
    x = law(0, 1, -0.1).samples(50, np.random.default_rng(2))
    mine = Likelihood(penalty_sd=np.inf).value(x, np.array([[0.2, np.log(1.3), -0.15]]))[0]
    assert mine == pytest.approx(-stats.genextreme.logpdf(x, 0.15, 0.2, 1.3).sum(), rel=1e-12)


def test_l_moments_of_a_known_sample() -> None:
    """Of 1, 2, 4: mean 7/3, half the mean absolute difference 1, third (4 - 2·2 + 1)/3."""
    l1, l2, t3 = l_moments(np.array([[4.0, 1.0, 2.0]]))
    assert (l1[0], l2[0], t3[0]) == pytest.approx((7 / 3, 1.0, 1 / 3))


@pytest.mark.parametrize(
    ("shape", "ml", "ml_quantile", "ml_upper", "from_l_moments"),
    [
        (-0.4, -0.4069, 2.3127, 2.576, -0.3998),
        (-0.1, -0.1032, 4.9288, 6.359, -0.0993),
        (0.2, 0.2002, 14.860, 23.60, 0.1955),
    ],
)
def test_fit_of_a_sample_without_chance(
    shape: float, ml: float, ml_quantile: float, ml_upper: float, from_l_moments: float
) -> None:
    x = even_sample(shape)
    likelihood = Likelihood(penalty_sd=np.inf)
    found, found_by = maximum_likelihood(likelihood, x)
    assert found_by == "newton"
    assert found.law.shape[0] == pytest.approx(ml, abs=1e-4)
    assert found.law.quantile(0.001)[0] == pytest.approx(ml_quantile, rel=1e-4)
    limit = quantile_limit(likelihood, x, found, exceedance=0.001, level=0.95)
    assert limit == pytest.approx(ml_upper, rel=1e-3)
    assert l_moment_fit(x).shape[0] == pytest.approx(from_l_moments, abs=1e-4)


def test_fits_of_random_samples_scatter_around_the_law() -> None:
    """F14, forty samples each: means within three standard errors, spreads within a factor."""
    truth = law(2, 0.5, -0.2)
    laws = Law(*(np.repeat(value, 40) for value in (truth.location, truth.scale, truth.shape)))
    for n, spread in ((1000, 0.081), (50, 0.49)):
        x = laws.samples(n, np.random.default_rng(n))
        found = minimise(Likelihood(penalty_sd=np.inf), x, start_values(x)).law
        quantiles = found.quantile(0.001)
        assert 0.6 * spread < quantiles.std() < 1.6 * spread
        assert abs(np.median(quantiles) - 3.871966) < 3 * 1.25 * spread / 40**0.5
        if n == 1000:
            assert found.shape.mean() == pytest.approx(-0.2, abs=0.012)
            assert found.location.mean() == pytest.approx(2, abs=0.01)
            assert found.scale.mean() == pytest.approx(0.5, abs=0.007)


@pytest.mark.parametrize("shape", [-0.9, -0.4, 0.0, 0.4])
def test_likelihood_is_no_worse_than_scipys(shape: float) -> None:
    samples = law(0, 1, shape).samples(100, np.random.default_rng(3)).repeat(5, 0)
    samples *= np.random.default_rng(4).uniform(0.9, 1.1, samples.shape)
    likelihood = Likelihood(penalty_sd=np.inf)
    for x in samples[:, None]:
        c, location, scale = stats.genextreme.fit(x[0])
        theirs = likelihood.value(x, np.array([[location, np.log(scale), -c]]))[0]
        if SHAPE_BOX[0] <= -c <= SHAPE_BOX[1]:
            assert maximum_likelihood(likelihood, x)[0].value[0] <= theirs + 1e-4


def test_minimum_within_the_box_is_stationary() -> None:
    """A sample of uniforms wants shape -1: the fit stays at the box and the rest is optimal."""
    x = np.random.default_rng(5).uniform(size=(3, 200))
    found = minimise(Likelihood(penalty_sd=np.inf), x, np.tile([0.4, np.log(0.6), -0.5], (3, 1)))
    assert found.converged.all()
    assert (found.law.shape >= SHAPE_BOX[0]).all()


def test_simplex_takes_over_where_newton_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x = even_sample(-0.1)
    expected = maximum_likelihood(Likelihood(), x)[0]
    monkeypatch.setattr("robcert.certify.stats.gev_fit._MAX_STEPS", 1)
    found, found_by = maximum_likelihood(Likelihood(), x)
    assert found_by == "simplex"
    assert found.value[0] == pytest.approx(expected.value[0], rel=1e-7)


def test_l_moments_stand_where_no_search_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    x = even_sample(-0.1)
    start = start_values(x)
    stuck = OptimizeResult(x=start[0], fun=np.inf, success=False)
    monkeypatch.setattr("robcert.certify.stats.gev_fit._MAX_STEPS", 0)
    monkeypatch.setattr("robcert.certify.stats.gev_fit.optimize.minimize", lambda *_, **__: stuck)
    found, found_by = maximum_likelihood(Likelihood(), x)
    assert found_by == "l-moments"
    assert found.law.shape[0] == pytest.approx(-0.0993, abs=1e-4)


def test_anderson_darling_against_its_definition() -> None:
    x = np.random.default_rng(6).gumbel(size=20)
    cdf = stats.gumbel_r.cdf(np.sort(x))
    i = np.arange(1, 21)
    expected = -20 - ((2 * i - 1) * (np.log(cdf) + np.log(1 - cdf[::-1]))).mean()
    assert anderson_darling(law(0, 1, 0), x[None])[0] == pytest.approx(expected, rel=1e-10)
