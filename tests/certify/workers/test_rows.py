"""Rows are the same, bit by bit, whoever computes them: threads or any number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from every_analysis import ANALYSES, network, pictures
from stored_content import content, differing

from robcert.certify.attacks import TransferSettings, analyse_transfer
from robcert.certify.auditing import SessionRequest, load_sources, open_session

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 40

pytestmark = [
    pytest.mark.filterwarnings("ignore::robcert.certify.api.RobcertWarning"),
    pytest.mark.usefixtures("forks"),
]


@pytest.mark.slow
@pytest.mark.parametrize("analysis", ANALYSES)
def test_rows_of_workers_are_those_of_threads(analysis: str, tmp_path: Path) -> None:
    function, settings = ANALYSES[analysis]
    images = pictures(tmp_path)
    options: dict[str, Any] = {"limit": IMAGES, "batch_size": 4, "allow_low_accuracy": True}
    found = []
    for workers in (None, 1, 2, 3):
        out = tmp_path / f"{workers}.h5"
        function(network(tmp_path), images, settings, **options, workers=workers, out=out)
        found.append(content(out))
    assert len(found[0]) > 20
    for number, other in enumerate(found[1:], 1):
        assert not differing(found[0], other), f"{number} workers"


def test_rows_of_an_attack_by_two_workers(tmp_path: Path) -> None:
    function, settings = ANALYSES["attack"]
    images = pictures(tmp_path)
    found = []
    for workers in (None, 2):
        out = tmp_path / f"{workers}.h5"
        how: dict[str, Any] = {"limit": 12, "batch_size": 2, "workers": workers, "out": out}
        function(network(tmp_path), images, settings, **how)
        found.append(content(out))
    assert not differing(*found)


def test_rows_of_transferred_examples_by_two_workers(tmp_path: Path) -> None:
    images = pictures(tmp_path)
    found = []
    for workers in (None, 2):
        out = tmp_path / f"{workers}.h5"
        request = SessionRequest(
            network(tmp_path), images, limit=12, batch_size=2, out=out, workers=workers
        )
        with open_session(request) as context:
            session = context.session
            sources = load_sources(request, [network(tmp_path, seed=1)], session)
            analyse_transfer(session, TransferSettings(steps=5), sources)
        found.append(content(out))
    assert any("evidence" in name for name in found[0])
    assert not differing(*found)
