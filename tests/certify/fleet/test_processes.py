"""One process for each task: whatever one does, the others end as if they were alone."""

from __future__ import annotations

import itertools
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fleet_tasks
import pytest

from robcert.certify.fleet import processes
from robcert.certify.fleet.processes import Ending, ModelProcesses, ModelTask

if TYPE_CHECKING:
    from collections.abc import Callable

numbers = itertools.count()


def task(work: Callable[..., dict[str, Any]] | None, *arguments: object, **how: Any) -> ModelTask:
    wanted = None if work is None else partial(work, *arguments)
    return ModelTask(lambda: wanted, how.pop("key", str(next(numbers))), **how)


def endings(*tasks: ModelTask, slots: int = 2) -> list[Ending]:
    """How each task ended, in their order."""
    with ModelProcesses(slots) as pool:
        found = dict(pool.run(tasks))
    assert len(found) == len(tasks)
    return [found[place] for place in range(len(tasks))]


def gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_every_way_to_end_is_that_of_one_job_alone() -> None:
    tasks = [
        task(fleet_tasks.echoes, [1, "a", None]),
        task(fleet_tasks.crashes),
        task(fleet_tasks.leaves),
        task(fleet_tasks.is_refused),
        task(fleet_tasks.errs),
        task(fleet_tasks.cannot_be_written),
        task(None),
        task(fleet_tasks.echoes, "last"),
    ]
    first, crash, leave, refusal, fault, unwritable, none, last = endings(*tasks)
    assert first.answer is not None
    assert last.answer is not None
    assert first.answer["value"] == [1, "a", None]
    assert last.answer["value"] == "last"
    assert len({first.answer["process"], last.answer["process"], os.getpid()}) == 3
    assert crash.error == "its process died (signal 11, SIGSEGV)"
    assert leave.error == "its process died (status 0)"
    assert (refusal.error, refusal.hint) == ("no model", "pass another")
    assert fault.error == "RuntimeError: a fault of two lines (this is a bug in robcert)"
    assert unwritable.error == "its process died (status 1)"
    assert none == Ending()


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.1)
    endings(task(fleet_tasks.echoes, 0))  # the server has begun
    began = time.monotonic()
    hung, other = endings(task(fleet_tasks.hangs), task(fleet_tasks.echoes, 1))
    assert time.monotonic() - began < 300
    assert hung.error.startswith("its process used no processor time in ")
    assert other.answer is not None


@pytest.mark.parametrize(("slots", "each", "most"), [(1, 1, 1), (2, 1, 2), (4, 2, 2)])
def test_no_more_run_at_a_time_than_there_are_slots(slots: int, each: int, most: int) -> None:
    tasks = [task(fleet_tasks.lasts, 0.3, slots=each) for _ in range(4)]
    spans = [one.answer for one in endings(*tasks, slots=slots) if one.answer is not None]
    together = [
        sum(other["begun"] <= one["begun"] < other["ended"] for other in spans) for one in spans
    ]
    assert len(spans) == 4
    assert max(together) <= most


def test_jobs_of_one_key_run_one_after_the_other() -> None:
    tasks = [task(fleet_tasks.lasts, 0.3, key="same") for _ in range(2)]
    one, other = (ending.answer or {} for ending in endings(*tasks))
    assert one["ended"] <= other["begun"] or other["ended"] <= one["begun"]


def test_leaving_ends_the_processes_and_what_they_have_started(tmp_path: Path) -> None:
    with ModelProcesses(2) as pool:
        found = pool.run([task(fleet_tasks.hangs, tmp_path), task(fleet_tasks.echoes, 1)])
        assert next(found)[0] == 1
        while not (tmp_path / "pids").exists():
            time.sleep(0.05)
        running = [int(number) for number in (tmp_path / "pids").read_text().split()]
        assert not any(map(gone, running))
        began = time.monotonic()
    assert time.monotonic() - began < 10
    while not all(map(gone, running)):
        assert time.monotonic() - began < 10
        time.sleep(0.05)
