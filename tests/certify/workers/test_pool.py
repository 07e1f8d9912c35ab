"""Workers that die, hang, fail, or are no longer needed; what they compute comes back once."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robcert.certify.errors import ModelFileError, WorkerError
from robcert.certify.time_budget import require_time
from robcert.certify.workers import WorkerPool, in_worker, pool
from robcert.certify.workers.activity import processor_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.workers import Link, Part, Rows

ROWS = np.arange(30)


def squares(rows: Rows) -> Iterator[Part]:
    """The square of each row, and the process that computed it."""
    for row in rows:
        yield np.array([row]), (int(row) ** 2, os.getpid())


def collected(parts: Iterator[Part]) -> dict[int, Any]:
    """What came back by row; each row once."""
    found: dict[int, Any] = {}
    for rows, value in parts:
        for row in rows.tolist():
            assert row not in found
            found[row] = value
    return found


def gone(process: int) -> bool:
    """Whether the process has ended, or is about to be forgotten by its parent."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_every_row_comes_back_once_from_other_processes() -> None:
    with WorkerPool(squares, 3, "squares") as workers:
        found = collected(workers.run(ROWS, lambda _: 4))
        processes = workers.processes
        assert workers.left == 0
        assert len(processes) == 3
    assert {row: value for row, (value, _) in found.items()} == {row: row**2 for row in range(30)}
    assert {process for _, process in found.values()} <= set(processes)
    assert os.getpid() not in processes
    assert all(map(gone, processes))
    assert not in_worker()


def test_batches_are_as_large_as_asked_and_fast_workers_get_more() -> None:
    sizes = []

    def compute(rows: Rows) -> Iterator[Part]:
        time.sleep(0.5 if 0 in rows else 0.0)
        yield rows, os.getpid()

    with WorkerPool(compute, 2, "sizes") as workers:
        parts = list(workers.run(ROWS, lambda waiting: 1 + waiting // 10))
    sizes = [len(rows) for rows, _ in parts]
    assert sum(sizes) == len(ROWS)
    assert max(sizes) == 4
    slow = next(process for rows, process in parts if 0 in rows)
    assert [process for _, process in parts].count(slow) < len(parts) / 2


def once(folder: Path, how: int, rows: Rows) -> Iterator[Part]:
    """The squares; the first worker that comes to row 7 sends itself a signal in the middle."""
    for row in rows:
        mark = folder / "was here"
        if row == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), how)
        yield np.array([row]), int(row) ** 2


def test_the_rows_of_a_worker_that_dies_are_computed_again(tmp_path: Path) -> None:
    with WorkerPool(partial(once, tmp_path, signal.SIGKILL), 2, "squares") as workers:
        found = collected(workers.run(ROWS, lambda _: 10))
    assert (tmp_path / "was here").exists()
    assert found == {row: row**2 for row in range(30)}


def test_a_worker_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(pool, "IDLE_LOOKS", 10)
    with WorkerPool(partial(once, tmp_path, signal.SIGSTOP), 2, "squares") as workers:
        found = collected(workers.run(ROWS, lambda _: 10))
    assert found == {row: row**2 for row in range(30)}


def test_a_worker_that_computes_for_long_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(pool, "IDLE_LOOKS", 20)

    def busy(rows: Rows) -> Iterator[Part]:
        end = time.process_time() + 2.5
        while time.process_time() < end:
            pass
        yield rows, os.getpid()

    with WorkerPool(busy, 1, "busy") as workers:
        (part,) = workers.run(ROWS[:1], lambda _: 1)
        assert part[1] in workers.processes


def test_a_row_that_always_kills_its_worker_ends_the_run() -> None:
    def poisoned(rows: Rows) -> Iterator[Part]:
        for row in rows:
            if row == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            yield np.array([row]), row

    found: set[int] = set()

    def run(workers: WorkerPool) -> None:
        for rows, _ in workers.run(ROWS, lambda _: 10):
            found.update(rows.tolist())

    with WorkerPool(poisoned, 2, "squares") as workers:
        with pytest.raises(WorkerError, match=r"squares: .* 3 times .*signal 9.* 7") as raised:
            run(workers)
        processes = workers.processes
    assert "--workers" in raised.value.hint
    assert set(range(7)) <= found
    assert all(map(gone, processes))


def test_an_error_of_a_worker_is_that_of_the_run() -> None:
    def failing(rows: Rows) -> Iterator[Part]:
        message = f"no scores of {rows[0]}"
        raise ModelFileError(message, hint="another model")
        yield

    with WorkerPool(failing, 2, "squares") as workers:
        with pytest.raises(ModelFileError, match=r"^no scores of") as raised:
            list(workers.run(ROWS, lambda _: 10))
        assert raised.value.hint == "another model"
        assert "in failing" in "".join(raised.value.__notes__)


class AwkwardError(RuntimeError):
    """An error that cannot be made again from its message."""

    def __init__(self, message: str, *, place: int) -> None:
        super().__init__(message)
        self.place = place


def test_an_error_that_cannot_be_sent_keeps_its_text() -> None:
    def failing(rows: Rows) -> Iterator[Part]:
        message = "odd"

        class LocalError(AwkwardError):
            pass

        yield rows, LocalError(message, place=1)

    with WorkerPool(failing, 1, "squares") as workers:
        ((_, error),) = workers.run(ROWS[:1], lambda _: 10)
    assert isinstance(error, RuntimeError)
    assert str(error) == "odd"


def test_no_batch_begins_where_none_is_allowed() -> None:
    allowed = iter([10, 10, *[0] * 100])
    with WorkerPool(squares, 2, "squares") as workers:
        found = collected(workers.run(ROWS, lambda _: next(allowed)))
        assert workers.left == 10
    assert len(found) == 20


def test_work_is_given_up_at_the_end_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GRACE", 0.5)

    def endless(rows: Rows) -> Iterator[Part]:
        yield rows[:1], "first"
        while True:
            time.sleep(0.01)
            if rows[0] == 0:  # the others never ask
                require_time()

    begun = time.monotonic()
    with WorkerPool(endless, 2, "endless") as workers:
        found = collected(workers.run(ROWS, lambda _: 15, end=time.monotonic() + 1.0))
        assert workers.left == 28
    assert found == {0: "first", 15: "first"}
    assert 1.0 <= time.monotonic() - begun < 60


def test_processor_time_counts_that_of_child_processes() -> None:
    before = processor_seconds(os.getpid())
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert processor_seconds(os.getpid()) - before >= 0.2
    child = os.fork()
    if not child:
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        time.sleep(60)
    try:
        began = time.monotonic()
        while processor_seconds(child) < 0.4 and time.monotonic() - began < 30:
            time.sleep(0.05)
        own = processor_seconds(child)
        assert processor_seconds(os.getpid()) >= before + 0.2 + own - 0.1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert processor_seconds(child) == 0.0


class Late:
    """Workers in this process, the first of which come after a few calls."""

    def __init__(self, calls: int) -> None:
        self.calls, self.released, self.ended = calls, 0, 0

    def started(self) -> Here | None:
        self.calls -= 1
        return None if self.calls >= 0 else Here(self)

    def ready(self, links: Sequence[Link], _seconds: float) -> list[Link]:
        return list(links)


class Here:
    """A worker that computes the square of a row whenever it is heard."""

    cause, used = "", 0.0

    def __init__(self, crew: Late) -> None:
        self.crew, self.rows = crew, list[int]()

    def send(self, rows: Rows, _end: float) -> None:
        self.rows = rows.tolist()

    def received(self) -> Part | Exception | None:
        if not self.rows:
            return None
        row = self.rows.pop(0)
        return np.array([row]), row**2

    def end(self) -> None:
        self.crew.ended += 1

    def release(self) -> None:
        self.crew.released += 1


def test_rows_wait_for_workers_that_are_on_their_way() -> None:
    late = Late(calls=3)
    with WorkerPool(squares, 2, "squares", transport=late) as workers:
        found = collected(workers.run(ROWS, lambda _: 4))
        assert workers.left == 0
    assert found == {row: row**2 for row in range(30)}
    assert (late.released, late.ended) == (2, 0)


def test_workers_on_their_way_are_not_waited_for_where_nothing_is_to_be_begun() -> None:
    with WorkerPool(squares, 2, "squares", transport=Late(calls=10**9)) as workers:
        assert collected(workers.run(ROWS, lambda _: 0)) == {}
        assert workers.left == len(ROWS)


def test_workers_in_the_middle_of_a_batch_are_ended_not_released() -> None:
    late = Late(calls=0)
    with WorkerPool(squares, 2, "squares", transport=late) as workers:
        next(iter(workers.run(ROWS, lambda _: 4)))
    assert (late.released, late.ended) == (0, 2)
