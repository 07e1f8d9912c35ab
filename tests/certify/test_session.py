"""Batches of a session: how many images each takes, and what a long one costs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from linear_models import SHAPE, linear_classifier

from robcert.certify.auditing.clean import rows
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data import from_arrays
from robcert.certify.session import BATCH_SECONDS, Session
from robcert.certify.store.store import ResultStore
from robcert.certify.time_budget import BatchAbandonedError, abandoned_after, require_time

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.session import Columns

COUNT = 30


@pytest.mark.parametrize(
    ("each", "fixed", "first", "expected"),
    [
        (0.0, 0.0, None, [8, 8, 8, 6]),
        (0.0, 0.0, 1, [1, 2, 4, 8, 8, 7]),
        (0.0, 0.0, 20, [8, 8, 8, 6]),
        (40.0, 0.0, None, [8, 4, 2, *[1] * 16]),
        (4.0, 0.0, None, [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2]),  # 16 s, 8 s
        (0.0, 40.0, None, [8, 4, 8, 8, 2]),  # a batch costs the same at any size
        (5.0, 20.0, None, [8, 4, 2, 1, *[2] * 7, 1]),
    ],
)
def test_slow_batches_become_smaller_and_fast_ones_grow(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    each: float,
    fixed: float,
    first: int | None,
    expected: list[int],
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    classifier = linear_classifier()
    channels, height, width = SHAPE
    drawn = np.random.default_rng(0).random((COUNT, height, width, channels))
    images = from_arrays("drawn", (255 * drawn).astype(np.uint8), np.zeros(COUNT, np.int64))
    sizes: list[int] = []
    reported: list[int] = []

    def compute(batch: Batch) -> Columns:
        sizes.append(len(batch))
        now[0] += fixed + each * len(batch)
        return rows(session, batch)

    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(COUNT), store, batch_size=8)
        session.progress = lambda _, done, __: reported.append(done)
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        session.fill(group, "clean", compute, first=first)
        assert len(group.missing(session.indices)) == 0
    assert sizes == expected
    assert reported == [0, *np.cumsum(expected)]


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class Run:
    """Sessions on one results file whose model takes ``seconds`` for a call."""

    def __init__(self, path: Path, clock: Clock, seconds: float) -> None:
        self.path, self.clock, self.seconds = path, clock, seconds
        self.sizes: list[int] = []
        channels, height, width = SHAPE
        drawn = np.random.default_rng(0).random((COUNT, height, width, channels))
        self.images = from_arrays("drawn", (255 * drawn).astype(np.uint8), np.zeros(COUNT, int))

    def __call__(self, deadline: float | None, *, calls: int = 1, each: float = 0.0) -> list[int]:
        """Fill the table with ``calls`` calls a batch; the images that have a row at the end."""
        usual = linear_classifier()

        def slow(x: Tensor) -> Tensor:
            self.clock.now += self.seconds + each * len(x)
            return usual.runtime.logits(x)

        model = replace(usual, runtime=replace(usual.runtime, logits=slow))

        def compute(batch: Batch) -> Columns:
            self.sizes.append(len(batch))
            for _ in range(calls - 1):
                session.classifier.logits(batch.x)
            return rows(session, batch)

        with ResultStore.open(self.path, model=model.info, data=self.images.info) as store:
            session = Session(
                model, self.images, np.arange(COUNT), store, batch_size=8, deadline=deadline
            )
            group = store.group(CLEAN, prefix="", settings=None, seed=0)
            session.fill(group, "clean", compute)
            return np.flatnonzero(group.computed(session.indices)).tolist()


def test_under_a_time_budget_batches_end_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "r.h5", Clock(monkeypatch), 0.0)
    assert run(deadline=30.0, each=1.0) == list(range(COUNT))
    assert run.sizes == [4, 8, 8, 8, 2]
    run = Run(tmp_path / "other.h5", Clock(monkeypatch), 0.0)
    assert run(deadline=15.0, each=1.0) == list(range(16))  # the last begins at the deadline
    assert run.sizes == [4, 8, 3, 1]


def test_a_batch_that_overruns_the_time_budget_is_abandoned_at_a_call_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    run = Run(tmp_path / "r.h5", clock, 1.0)
    assert run(deadline=10.0, calls=5) == list(range(9))  # 4, 4 and 1, of 5 s each
    clock.now = 0.0
    assert run(deadline=10.0, calls=1000) == list(range(9))
    assert clock.now == 10.0 + BATCH_SECONDS + 1.0
    clock.now = 0.0
    assert run(deadline=None, calls=1000) == list(range(COUNT))


def test_only_the_thread_that_works_under_a_time_budget_is_ended_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    with abandoned_after(5.0), ThreadPoolExecutor() as threads:
        require_time()
        clock.now = 6.0
        with pytest.raises(BatchAbandonedError):
            require_time()
        threads.submit(require_time).result()
    require_time()


@pytest.mark.parametrize("gradient", [False, True])
def test_every_call_of_a_classifier_asks_for_time(
    monkeypatch: pytest.MonkeyPatch, *, gradient: bool
) -> None:
    clock, model = Clock(monkeypatch), linear_classifier()
    call, x = model.twin_logits if gradient else model.logits, torch.zeros(2, *SHAPE)
    with abandoned_after(5.0):
        call(x)
        clock.now = 6.0
        with pytest.raises(BatchAbandonedError):
            call(x)
