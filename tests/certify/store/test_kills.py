"""SIGKILL at any moment: the file opens, finished rows stay, and the end is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from killed_runs import audit, kill_runs, unsafe_work, work

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_run_is_taken_up_where_it_stood(tmp_path: Path, kills: int) -> None:
    kill_runs(tmp_path / "results.h5", kills, work)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_audit_is_taken_up_where_it_stood(tmp_path: Path) -> None:
    kill_runs(tmp_path / "results.h5", 50, audit, longest=0.1)


@pytest.mark.slow
def test_the_kills_would_find_a_store_that_counts_rows_too_early(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"distance|row|ended by itself"):
        kill_runs(tmp_path / "results.h5", 40, unsafe_work)
