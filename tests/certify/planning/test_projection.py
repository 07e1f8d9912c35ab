"""From the batches of a pilot to a run: lines, ranges, unknown costs."""

from __future__ import annotations

import math

import pytest

from robcert.certify.passes import Passes
from robcert.certify.planning.pilot import Batch, Spent, Task
from robcert.certify.planning.projection import LEAST_SPREAD, Line, cost_of


def batch(images: int, processor: float, *, waits: float = 1.0, each: int = 10) -> Batch:
    """One with ``each`` forward passes per image; it takes ``waits`` times its processor time."""
    return Batch(images, waits * processor, Spent(Passes(each * images, 0), processor))


def task(*batches: Batch, most: int = 64, share: float = 1.0, whole: bool = False) -> Task:
    return Task("", "attack", share, whole, batches, most)


def on_a_line(fixed: float, each: float, *, waits: float = 1.0) -> tuple[Batch, ...]:
    first = batch(1, 5 * (fixed + each), waits=waits)  # it warms up
    return first, *(batch(n, fixed + n * each, waits=waits) for n in (4, 16, 64))


def test_a_line_is_found_and_the_first_batch_forgotten() -> None:
    line = Line.through(on_a_line(0.3, 0.02))
    assert (line.fixed, line.each) == pytest.approx((0.3, 0.02))


def test_a_run_pays_for_each_batch_and_each_image() -> None:
    cost = cost_of(task(*on_a_line(0.3, 0.02)), 200)
    assert cost.processor == pytest.approx(4 * 0.3 + 200 * 0.02)
    assert cost.forward == 2000
    assert cost.lower < cost.seconds < cost.upper


def test_elapsed_time_is_processor_time_as_often_as_in_the_pilot() -> None:
    alone, shared = (cost_of(task(*on_a_line(0.3, 0.02, waits=w)), 200) for w in (1.0, 3.0))
    assert shared.seconds == pytest.approx(3 * alone.seconds)
    assert shared.processor == pytest.approx(alone.processor)


def test_a_batch_takes_a_few_seconds_at_most() -> None:
    slow = task(*on_a_line(1.0, 1.0))  # 65 s for a batch of 64: a run has batches of 14
    assert cost_of(slow, 140).processor == pytest.approx(10 * 1.0 + 140 * 1.0)


@pytest.mark.parametrize("images", [10, 1000])
def test_rows_that_are_not_of_images_cost_the_same_whatever_their_number(images: int) -> None:
    sample = task(*on_a_line(0.0, 0.1), share=300, whole=True)
    assert cost_of(sample, images).processor == pytest.approx(30)


def test_tables_of_some_images_only_have_their_share() -> None:
    rounds = task(*on_a_line(0.0, 0.1), share=0.25)
    assert cost_of(rounds, 400).processor == pytest.approx(10)


def test_the_range_is_as_wide_as_batches_differ() -> None:
    steady, wild = task(*on_a_line(0, 0.1)), task(batch(1, 1), batch(4, 0.2), batch(16, 4))
    narrow, wide = cost_of(steady, 100), cost_of(wild, 100)
    assert narrow.upper / narrow.lower == pytest.approx((1 + LEAST_SPREAD) ** 2)
    assert wide.upper / wide.lower > 2


def test_what_was_abandoned_has_no_upper_limit() -> None:
    cut = Task("", "verify", 1.0, False, (batch(2, 30.0),), 1, cut=True)
    assert cost_of(cut, 10).upper == math.inf
    nothing = Task("", "verify", 1.0, False, (batch(0, 30.0),), 1, cut=True)
    cost = cost_of(nothing, 10)
    assert (cost.seconds, cost.lower, cost.upper) == (math.inf, 30.0, math.inf)


def test_a_task_without_rows_costs_nothing() -> None:
    assert cost_of(task(share=0.0), 100).seconds == 0


def test_one_image_tells_the_cost_where_a_batch_was_abandoned() -> None:
    lost, single = Batch(0, 30.0, Spent(processor=30.0), 16), batch(1, 10.0)
    cost = cost_of(task(lost, single), 160)
    assert cost.lower == pytest.approx(300 / 1.5)
    assert cost.upper == pytest.approx(1600 * 1.5)
    assert cost.seconds == pytest.approx(math.sqrt(300 * 1600))
