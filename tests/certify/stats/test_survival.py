"""Shares of images beyond each distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robcert.certify.stats.intervals import proportion
from robcert.certify.stats.survival import STEPS, reach_of, shares_above, step_places

distances = st.lists(st.one_of(st.floats(0, 10), st.just(np.inf)), min_size=1, max_size=40)


def test_known_shares() -> None:
    values = np.array([0.0, 0.5, 0.5, 2.0, np.inf])
    places = step_places(values, 3.0, asked=[1.0])
    assert places.tolist() == [0.0, 0.5, 1.0, 2.0, 3.0]
    shares = shares_above(values, places)
    assert shares[:, 0].tolist() == [0.8, 0.4, 0.4, 0.2, 0.2]
    fair = proportion(4, 5)
    assert shares[0].tolist() == pytest.approx([fair.value, fair.lower, fair.upper])


@given(distances, st.floats(0, 12))
def test_a_share_holds_up_to_the_next_place(numbers: list[float], where: float) -> None:
    values = np.array(numbers)
    places = step_places(values, 12.0)
    shares = shares_above(values, places)
    last = np.searchsorted(places, where, side="right") - 1
    assert shares[last, 0] == pytest.approx((values > where).mean())


def test_many_images_have_no_more_steps_than_a_picture_shows() -> None:
    values = np.random.default_rng(0).random(50_000)
    assert len(step_places(values, 1.0)) <= STEPS + 2


def test_a_picture_reaches_as_far_as_nearly_all_finite_distances() -> None:
    assert reach_of([np.array([np.inf, np.nan])]) == 0.0
    assert reach_of([np.array([1.0, np.inf]), np.array([2.0, np.nan])]) == 2.0
