"""What float32 makes of exact boxes: nothing is lost at the edges, nothing is printed outside."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robcert.certify.verification.properties.box import Box, float_below, read_inputs
from robcert.certify.verification.properties.formula import OutputRow
from robcert.certify.verification.properties.unsafe_set import Case

DECIMALS = st.decimals(-1000, 1000, allow_nan=False, allow_infinity=False).map(Fraction)
RATIOS = st.fractions(-1000, 1000)


def boxes(numbers: st.SearchStrategy[Fraction] = DECIMALS) -> st.SearchStrategy[Box]:
    pairs = st.lists(st.tuples(numbers, numbers).map(sorted), min_size=1, max_size=3)
    return pairs.map(lambda found: Box(tuple(a for a, _ in found), tuple(b for _, b in found)))


@given(boxes(RATIOS))
def test_outward_bounds_enclose_the_box_and_its_nearest_floats(box: Box) -> None:
    low, high = box.outward()
    nearest_low, nearest_high = box.nearest()
    for i in range(len(box)):
        assert Fraction(low[i]) <= box.lower[i]
        assert box.upper[i] <= Fraction(high[i])
        assert low[i] <= nearest_low[i] <= nearest_high[i] <= high[i]
        assert low[i] == np.float32(low[i])
        assert high[i] == np.float32(high[i])
        gap = np.nextafter(np.float32(low[i]), np.float32(np.inf))
        assert Fraction(float(gap)) > box.lower[i]  # no more than needed


@given(boxes(), st.floats(0, 1))
def test_written_inputs_are_in_the_box_and_read_back(box: Box, share: float) -> None:
    low, high = box.nearest()
    x = np.clip((low + share * (high - low)).astype(np.float32), low, high).astype(np.float32)
    written = box.written(x)
    assert written is not None
    for text, lower, upper in zip(written, box.lower, box.upper, strict=True):
        assert lower <= Fraction(text) <= upper
    assert np.array_equal(read_inputs(written), x)


def test_a_box_without_a_float_has_its_own_decimal() -> None:
    # 0.1 is no binary number: the network gets the nearest one, which lies above.
    box = Box((Fraction("0.1"),), (Fraction("0.1"),))
    assert box.written(np.array([0.1], np.float32)) == ("0.1",)
    assert box.written(np.nextafter(np.array([0.1], np.float32), np.float32(1))) is None


def test_inputs_outside_have_no_decimal() -> None:
    box = Box((Fraction(0),), (Fraction(1),))
    for value in (-1e-30, 1.0000001, math.nan, math.inf):
        assert box.written(np.array([value], np.float32)) is None


@given(st.fractions(-(10**6), 10**6))
def test_float_below_is_the_nearest_float_that_is_not_above(value: Fraction) -> None:
    found = float_below(value)
    assert Fraction(found) <= value < Fraction(math.nextafter(found, math.inf))


NONZERO = DECIMALS.filter(lambda value: abs(value) > Fraction(1, 10**9))


@given(st.lists(NONZERO, min_size=1, max_size=3), DECIMALS, st.lists(st.floats(-10, 10)))
def test_float_rows_are_a_multiple_that_is_no_easier_to_prove(
    coefficients: list[Fraction], constant: Fraction, outputs: list[float]
) -> None:
    row = OutputRow(tuple(enumerate(coefficients)), constant)
    (found,), (offset,), exact = Case(Box((), ()), (row,)).float_rows()
    factor = Fraction(found[0]) / coefficients[0]
    assert factor > 0
    if exact:
        assert [Fraction(found[j]) for j in found] == [factor * c for c in coefficients]
        assert Fraction(offset) <= factor * constant
    else:
        assert all(math.isclose(found[j], coefficients[j], rel_tol=1e-15) for j in found)


def test_short_decimals_become_exact_rows() -> None:
    row = OutputRow(((0, Fraction("0.1")), (2, Fraction("-0.25"))), Fraction("0.3"))
    (found,), (offset,), exact = Case(Box((), ()), (row,)).float_rows()
    assert exact
    assert found == {0: 2.0, 2: -5.0}
    assert offset == 6.0


def test_misses_are_exact() -> None:
    row = OutputRow(((0, Fraction(1)), (1, Fraction(-1))), Fraction("0.1"))
    case = Case(Box((), ()), (row,))
    assert case.misses([0.0, 0.1]) == (Fraction(0),)  # 0.1 in float64 is above the decimal 0.1
    assert case.misses([0.0, 0.0999999]) == (Fraction("0.1") - Fraction(0.0999999),)
    assert case.scales([0.0, 4.0]) == (Fraction(4),)
