"""The campaigns tell apart what can happen to a file, and short ones find no fault."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from campaigns.campaign import (
    GOOD,
    Campaign,
    Case,
    Counts,
    Limits,
    Outcome,
    by_command,
    command_trial,
    run,
)

from robcert.certify.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and /proc")


def made(_: int, number: int, folder: Path) -> Case:
    path = folder / "file"
    path.write_text(str(number))
    return Case(f"file {number}", path)


def well(_: Case) -> None:
    pass


def refused(_: Case) -> None:
    message = "not an image"
    raise DataError(message)


def faulty(_: Case) -> None:
    message = "no such key"
    raise KeyError(message)


def fatal(_: Case) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def slow(_: Case) -> None:
    time.sleep(60)


def large(_: Case) -> None:
    np.ones(2**31, np.uint8)


def interrupted(_: Case) -> None:
    raise SystemExit


@pytest.mark.parametrize(
    ("trial", "outcome"),
    [
        (well, Outcome.OK),
        (refused, Outcome.REFUSED),
        (faulty, Outcome.TRACEBACK),
        (interrupted, Outcome.TRACEBACK),
        (fatal, Outcome.CRASH),
        (slow, Outcome.HANG),
        (large, Outcome.MEMORY),
    ],
)
def test_what_happened_is_told_apart(
    trial: Callable[[Case], None], outcome: Outcome, tmp_path: Path
) -> None:
    campaign = Campaign("one", made, trial)
    limits = Limits(seconds=2, memory=2**30)
    (result,) = run(campaign, [7], tmp_path, limits=limits)
    assert (result.outcome, result.number, result.mutation) == (outcome, 7, "file 7")
    assert list(tmp_path.iterdir()) == []


def test_several_children_at_a_time_give_one_result_each(tmp_path: Path) -> None:
    counts = Counts()
    campaign = Campaign("many", made, lambda case: faulty(case) if case.path.name else None)
    for result in run(campaign, range(9), tmp_path, workers=3):
        counts.add(result)
    assert sorted(one.number for one in counts.faults) == list(range(9))
    assert counts.total == {"traceback": 9}
    assert "| all | 9 | 0 | 0 | 9 |" in counts.table()


def test_a_file_that_cannot_be_made_ends_the_campaign(tmp_path: Path) -> None:
    def unmade(_: int, number: int, __: Path) -> Case:
        raise ValueError(number)

    with pytest.raises(RuntimeError, match="file 3 was not made"):
        list(run(Campaign("none", unmade, well), [3], tmp_path))


@pytest.mark.slow
def test_the_real_command_is_judged_by_what_it_prints(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    path.write_bytes(b"no archive")
    bad = Case("bad", path, ("attack", "--data", str(path)))
    outcome, message = command_trial(bad, Limits(seconds=60))
    assert outcome is Outcome.REFUSED, message
    assert "images.npz" in message


@pytest.mark.slow
def test_a_command_that_writes_beside_its_folder_is_found(tmp_path: Path) -> None:
    def named(_: int, number: int, folder: Path) -> Case:
        (folder / "file").write_text(str(number))
        return Case("outside", folder / "file", ("completion", "bash"))

    (good,) = run(by_command(Campaign("c", named, well), Limits(60)), [0], tmp_path)
    assert good.outcome in (Outcome.OK, Outcome.REFUSED), good.message
    case = named(0, 0, tmp_path)
    out = str(tmp_path / "r.h5")
    arguments = ("attack", "--profile", "quick", "--limit", "1", "--attack", "fgsm", "-o", out)
    outcome, _ = command_trial(Case("outside", case.path, arguments), Limits(60))
    assert outcome is Outcome.OUTSIDE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["models", "data", "options"])
def test_a_short_campaign_finds_no_fault(kind: str, tmp_path: Path) -> None:
    from importlib import import_module

    campaign = import_module(f"campaigns.{kind}").CAMPAIGN
    results = list(run(campaign, range(60), tmp_path, seed=1))
    assert [one for one in results if one.outcome not in GOOD] == []
    assert {one.outcome for one in results} == set(GOOD)
