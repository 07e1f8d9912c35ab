"""Differences from published values, with limits over images or over seeds."""

from __future__ import annotations

import pytest
from tiny_items import TINY

from robcert.certify.stats import proportion
from robcert.reproduction.item import Column
from robcert.reproduction.measured import Number
from robcert.reproduction.outcome import Cell, ours_of

SHARE = Column("accuracy", "attacked", "a", "n")
ERROR = Column("error", "attacked", "a", "n", "error")
VALUE = Column("distance", "attacked", "a", "n", "value")


def _share(successes: int, images: int) -> Number:
    return Number.of_share(proportion(successes, images), images)


def test_one_seed_has_the_binomial_limits_of_its_images() -> None:
    ours = ours_of(SHARE, [_share(30, 40)])
    whole = proportion(30, 40)
    assert ours is not None
    assert (ours.value, ours.lower, ours.upper) == (75, 100 * whole.lower, 100 * whole.upper)
    cell = Cell(TINY.rows[1], SHARE, 70.0, ours)
    assert cell.difference == pytest.approx(5.0)
    assert cell.difference_limits == pytest.approx((100 * whole.lower - 70, 100 * whole.upper - 70))


def test_an_error_is_the_rest_with_its_limits_exchanged() -> None:
    share, error = ours_of(SHARE, [_share(30, 40)]), ours_of(ERROR, [_share(30, 40)])
    assert share is not None
    assert error is not None
    assert error.value == 25
    assert (error.lower, error.upper) == (100 - share.upper, 100 - share.lower)  # type: ignore[operator]
    assert error.lower < error.value < error.upper  # type: ignore[operator]


def test_several_seeds_have_mean_and_range() -> None:
    ours = ours_of(SHARE, [_share(30, 40), _share(20, 40), _share(10, 40)])
    assert ours is not None
    assert (ours.value, ours.lower, ours.upper, ours.seeds) == (50, 25, 75, 3)


def test_a_number_without_a_value_is_none() -> None:
    infinite = Number.of_value(float("inf"), 40)
    assert ours_of(VALUE, [infinite]) is None
    assert ours_of(VALUE, [Number.of_value(0.5, 40), infinite]) is None
    assert ours_of(VALUE, []) is None
    cell = Cell(TINY.rows[1], VALUE, 0.4, ours_of(VALUE, [Number.of_value(0.5, 40)]))
    assert cell.difference == pytest.approx(0.1)
    assert cell.difference_limits is None
