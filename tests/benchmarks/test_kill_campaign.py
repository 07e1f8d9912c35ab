"""A short campaign of kills finds no fault, and finds those that are planted."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from campaigns.kills import COMMANDS, Counts, Kills

from robcert.certify.store.group import AnalysisGroup

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks"),
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]


def counted(kills: Kills, numbers: range) -> Counts:
    counts = Counts()
    for one in kills.sequences(numbers, seed=5):
        counts.add(one)
    return counts


def test_every_command_is_resumed(tmp_path: Path) -> None:
    counts = counted(Kills(tmp_path / "kills"), range(len(COMMANDS)))
    assert counts.faults == []
    assert counts.sums.keys() == COMMANDS.keys()
    assert counts.total["kills"] >= counts.total["resumed"] >= len(COMMANDS) - 2
    assert counts.total["lost"] == 0
    assert "| all |" in counts.table()


def test_rows_that_count_before_they_are_written_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = AnalysisGroup.append

    def hasty(group: AnalysisGroup, indices: NDArray[np.int64], rows: Any) -> None:
        append(group, indices, {name: values * 0 for name, values in rows.items()})
        time.sleep(0.1)  # longer than a busy machine keeps the process that kills waiting
        append(group, indices, rows)

    kills = Kills(tmp_path / "kills", ["smoothing certify"])
    kills.undisturbed("smoothing certify")
    monkeypatch.setattr(AnalysisGroup, "append", hasty)
    faults = (fault for one in kills.sequences(range(40), seed=5) for fault in one.faults)
    assert any("killed, row" in fault for fault in faults)


def test_work_that_is_left_out_after_a_kill_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = AnalysisGroup.finish

    def unfinished(group: AnalysisGroup, indices: NDArray[np.int64], **attributes: object) -> None:
        finish(group, indices[:-1], **attributes)

    kills = Kills(tmp_path / "kills", ["smoothing predict"])
    kills.undisturbed("smoothing predict")
    monkeypatch.setattr(AnalysisGroup, "finish", unfinished)
    counts = counted(kills, range(1))
    assert any("differs" in fault for fault in counts.faults)
