"""A short campaign of mutated results files finds no fault, and finds one that is planted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("campaigns.campaign")

from campaigns import results_files
from campaigns.campaign import GOOD, Outcome, run

from robcert.certify.store import soundness, validity

if TYPE_CHECKING:
    from pathlib import Path

    from campaigns.results_files import Base

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        return results_files.base(tmp_path_factory.mktemp("base"), ("attack",))


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(base: Base, tmp_path: Path) -> None:
    results = list(run(results_files.campaign(base), range(12), tmp_path, seed=1))
    assert [one for one in results if one.outcome not in GOOD] == []
    assert {one.outcome for one in results} == set(GOOD)


@pytest.mark.slow
def test_files_that_are_not_checked_end_badly(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its checks the campaign meets tracebacks: it can fail."""
    monkeypatch.setattr(soundness, "fault_of_file", lambda _: None)
    monkeypatch.setattr(validity, "header_faults", lambda _: iter(()))
    monkeypatch.setattr(validity, "table_faults", lambda _: iter(()))
    monkeypatch.setattr("robcert.certify.store.store.contradicts_itself", lambda _: False)
    results = list(run(results_files.campaign(base), range(12), tmp_path, seed=1))
    assert {Outcome.TRACEBACK, Outcome.CRASH} & {one.outcome for one in results}


def test_the_same_seed_and_number_make_the_same_file(base: Base, tmp_path: Path) -> None:
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        case = results_files.campaign(base).make(3, 5, folder)
        made.append((case.mutation, case.arguments[0]))
    assert made[0] == made[1]
