"""Progress where stderr is no terminal: what is being done, what comes, and a line now and then."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stderr

import pytest

from robcert.certify.auditing.analysis import Stage
from robcert.cli.shell import progress
from robcert.cli.shell.progress import Overall, TerminalProgress

FIRST = Stage("attack", 1, ("bounds", "masking"))
LAST = Stage("masking", 3, ())


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The lines on stderr; a task counts as long at once, and lines come every 0.05 s."""
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.05)
    return io.StringIO()


def waited(log: io.StringIO, text: str) -> bool:
    """Whether ``text`` is written within some seconds."""
    for _ in range(200):
        if text in log.getvalue():
            return True
        time.sleep(0.02)
    return False


def test_a_part_says_what_comes_after_it_once(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 60.0)
    with redirect_stderr(log), TerminalProgress() as shown:
        shown.start_stage(FIRST)
        assert not log.getvalue(), "a part that has nothing to do is not told"
        shown("pgd", 1, 10)
        shown("pgd", 2, 10)
        shown.start_stage(LAST)
        shown("tests", 1, 4)
    assert log.getvalue().splitlines() == [
        "attack: part 1 of 3; then bounds, masking",
        "masking: part 3 of 3; the last one",
    ]


def test_lines_come_while_a_task_reports_nothing(log: io.StringIO) -> None:
    with redirect_stderr(log), TerminalProgress() as shown:
        assert waited(log, "working; 0 s so far")
        shown.start_stage(FIRST)
        assert waited(log, "attack: part 1 of 3; then bounds, masking\nattack, working; ")
        shown("pgd", 2, 10)
        time.sleep(0.01)
        shown("pgd", 4, 10)
        assert waited(log, "attack, pgd: 4 of 10, about ")
        shown("pgd", 10, 10)
        shown.start_stage(LAST)
        assert waited(log, "masking: part 3 of 3; the last one\nmasking, working; ")
        shown.end_stages()
        assert waited(log, "\nworking; ")


def test_a_task_within_another_stands_after_it_and_starts_afresh_each_time(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("robcert.cli.shell.progress.time.monotonic", lambda: clock[0])
    with redirect_stderr(log), TerminalProgress() as shown:
        shown("check", 0, 96)
        for batch in range(2):
            shown("attacks", 1, 18)
            clock[0] += 60.0
            shown("attacks", 7, 18)
            assert waited(
                log, "check: 32 of 96, about 4 min left; " if batch else "check: 0 of 96; "
            )
            assert waited(log, f"attacks: 7 of 18, about 2 min left; {60 + 120 * batch} s so far")
            clock[0] += 60.0
            shown("attacks", 18, 18)
            shown("check", 32 * (batch + 1), 96)


def test_nothing_is_written_after_the_end(log: io.StringIO) -> None:
    with redirect_stderr(log):
        with TerminalProgress():
            assert waited(log, "working")
        time.sleep(0.1)  # a line that was being written
        ended = log.getvalue()
        time.sleep(0.3)
    assert log.getvalue() == ended


def test_quiet_writes_nothing(log: io.StringIO) -> None:
    with redirect_stderr(log), TerminalProgress(quiet=True) as shown:
        shown.start_stage(FIRST)
        shown("pgd", 1, 10)
        time.sleep(0.2)
    assert not log.getvalue()


def test_a_terminal_shows_the_parts_above_the_tasks_and_no_part_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    with redirect_stderr(terminal), TerminalProgress() as shown:
        shown.start_stage(FIRST)
        shown("pgd", 1, 10)
        bars = shown._bars
        assert bars is not None
        texts = [task.description for task in bars.tasks]
        assert texts == ["attack: part 1 of 3; then bounds, masking", "pgd"]
        shown("pgd", 10, 10)
        shown.start_stage(LAST)
        assert [(task.description, task.completed) for task in bars.tasks] == [
            ("masking: part 3 of 3; the last one", 2)
        ]
        shown.end_stages()
        assert not bars.tasks


def test_an_audit_with_a_forecast_tells_the_time_left_of_all_parts(log: io.StringIO) -> None:
    with redirect_stderr(log), TerminalProgress() as shown:
        shown.expect({"attack": 600.0, "bounds": 1200.0, "masking": 1800.0})
        shown.start_stage(FIRST)
        shown("pgd", 1, 10)
        shown("pgd", 2, 10)
        assert waited(log, "then bounds, masking; about 60 min left in all\n")
        assert waited(log, " s so far; about 60 min left in all\n")


@pytest.mark.parametrize("unknown", [{}, {"attack": 1.0, "bounds": float("inf")}])
def test_an_unknown_time_is_not_told(log: io.StringIO, unknown: dict[str, float]) -> None:
    with redirect_stderr(log), TerminalProgress() as shown:
        shown.expect(unknown)
        shown.start_stage(FIRST)
        assert waited(log, "attack, working; ")
    assert "in all" not in log.getvalue()


def test_finished_parts_correct_the_expected_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    overall = Overall({"attack": 10.0, "bounds": 20.0, "masking": 30.0}, {})
    assert overall.left() == 60.0
    overall.start("attack")
    now += 20.0  # twice as long as expected
    overall.start("bounds")
    assert overall.left() == 2 * (20.0 + 30.0)
    now += 15.0
    assert overall.left() == 2 * (20.0 + 30.0) - 15.0
    overall.start("masking")
    now += 1000.0
    assert overall.left() == 0.0
