"""Batches of a session: how many images each takes, and what a long one costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from linear_models import SHAPE, linear_classifier

from robcert.certify.auditing.clean import rows
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data import from_arrays
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

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
