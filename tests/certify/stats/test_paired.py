"""Paired tests and corrections against formulas by hand, statsmodels and exact coverage."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from robcert.certify.stats import (
    Correction,
    PairedCounts,
    adjusted_p_values,
    mcnemar_p_value,
    paired_interval,
    proportion,
    two_sided_p_value,
)
from robcert.certify.stats.paired import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

FIVE = [0.02, 0.5, 0.001, 0.04, 0.03]
COUNTS = st.integers(0, 40)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
CORRECTIONS = [Correction.HOLM, Correction.BENJAMINI_HOCHBERG]


@pytest.fixture(scope="module", autouse=True)
def _no_collections() -> Iterator[None]:
    """statsmodels collects garbage in each call, which takes seconds in a long test run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 8), (2, 9), (7, 7), (0, 0), (30, 12)])
def test_mcnemar_is_the_binomial_by_hand(only_a: int, only_b: int) -> None:
    m, least = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(m, k) for k in range(least + 1)) / 2**m
    found = mcnemar_p_value(PairedCounts(5, only_a, only_b, 3))
    assert found == pytest.approx(min(1, 2 * tail), rel=1e-12)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_mcnemar_needs_the_discordant_images_only(i: int, j: int, k: int, rest: int) -> None:
    found = mcnemar_p_value(PairedCounts(i, j, k, rest))
    assert found == pytest.approx(two_sided_p_value(j, k), rel=1e-12)
    assert found == mcnemar_p_value(PairedCounts(rest, k, j, i))


def test_holm_by_hand() -> None:
    # In ascending order 5 * .001, 4 * .02, 3 * .03, 2 * .04 (raised to .09), 1 * .5.
    found = adjusted_p_values(FIVE, Correction.HOLM)
    assert found == pytest.approx([0.08, 0.5, 0.005, 0.09, 0.09])


def test_benjamini_hochberg_by_hand() -> None:
    # In ascending order 5/1 * .001, 5/2 * .02, 5/3 * .03, 5/4 * .04, 5/5 * .5.
    found = adjusted_p_values(FIVE, Correction.BENJAMINI_HOCHBERG)
    assert found == pytest.approx([0.05, 0.5, 0.005, 0.05, 0.05])


def test_without_a_correction_p_values_stay() -> None:
    assert adjusted_p_values(FIVE, Correction.NONE) == tuple(FIVE)
    assert adjusted_p_values([], Correction.HOLM) == ()


@pytest.mark.parametrize("correction", CORRECTIONS)
@given(P_VALUES, st.randoms(use_true_random=False))
def test_properties_of_corrections(correction: Correction, p: list[float], random) -> None:  # type: ignore[no-untyped-def]
    found = adjusted_p_values(p, correction)
    order = np.argsort(p, kind="stable")
    assert all(raw <= value + 1e-15 and value <= 1 for raw, value in zip(p, found, strict=True))
    assert (np.diff(np.array(found)[order]) >= -1e-15).all()
    shuffled = random.sample(range(len(p)), len(p))
    again = adjusted_p_values([p[i] for i in shuffled], correction)
    assert again == pytest.approx([found[i] for i in shuffled], rel=1e-12, abs=0)


@given(P_VALUES)
def test_holm_is_never_below_benjamini_hochberg(p: list[float]) -> None:
    holm, bh = (adjusted_p_values(p, correction) for correction in CORRECTIONS)
    assert all(a >= b - 1e-15 for a, b in zip(holm, bh, strict=True))


@pytest.mark.parametrize(("a", "b"), [((6, 4), (5, 5)), ((1, 4), (3, 2))])
def test_without_correlation_the_interval_is_that_of_independent_proportions(
    a: tuple[int, int], b: tuple[int, int]
) -> None:
    # Cells of a product of two margins: both * neither = only_a * only_b.
    cells = PairedCounts(a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    count_a, count_b = cells.both + cells.only_a, cells.both + cells.only_b
    expected = confint_proportions_2indep(count_b, cells.n, count_a, cells.n, method="newcomb")
    assert paired_interval(cells, level=0.95) == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_narrower_for_models_that_err_on_the_same_images() -> None:
    cells = PairedCounts(both=80, only_a=2, only_b=8, neither=10)
    lower, upper = paired_interval(cells, level=0.95)
    independent = confint_proportions_2indep(88, 100, 82, 100, method="newcomb")
    assert upper - lower < 0.8 * (independent[1] - independent[0])


@given(st.integers(1, 300), st.data())
def test_intervals_of_one_proportion_are_those_of_statsmodels(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    exact, wilson = proportion(k, n), wilson_interval(k / n, n, level=0.95)
    assert (exact.lower, exact.upper) == pytest.approx(
        proportion_confint(k, n, method="beta"), rel=1e-12, abs=1e-15
    )
    assert wilson == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-15)


def test_importing_the_library_leaves_statsmodels_alone() -> None:
    code = (
        "import sys, robcert.certify.stats, robcert.certify.comparison, robcert.cli.main; "
        "sys.exit('statsmodels' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "cells", [(0.7, 0.1, 0.15, 0.05), (0.5, 0.02, 0.18, 0.3), (0.25, 0.25, 0.25, 0.25)]
)
def test_the_interval_covers_as_often_as_it_says(cells: tuple[float, ...]) -> None:
    # Exact: the sum over all tables of n = 30 images of their multinomial probability.
    n, (both, only_a, only_b, neither) = 30, cells
    truth, covered = only_b - only_a, 0.0
    for i in range(n + 1):
        for j in range(n + 1 - i):
            for k in range(n + 1 - i - j):
                rest = n - i - j - k
                lower, upper = paired_interval(PairedCounts(i, j, k, rest), level=0.95)
                if lower <= truth <= upper:
                    logs = special.xlogy([i, j, k, rest], [both, only_a, only_b, neither]).sum()
                    counts = special.gammaln(np.array([i, j, k, rest]) + 1).sum()
                    covered += math.exp(special.gammaln(n + 1) - counts + logs)
    assert 0.94 < covered < 0.985
