"""From the charts of the registry's rows to the figures of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command_line import robcert

from robcert.certify.auditing.open import bundled
from robcert.certify.auditing.registry import ANALYSES
from robcert.certify.auditing.summaries import results
from robcert.certify.report.figures import figures
from robcert.certify.store.store import ResultStore
from robcert.certify.tables.charts import Place, Shares

if TYPE_CHECKING:
    from pathlib import Path

FEW = ("--model", bundled("fashion-honest.onnx"), "--limit", "3", "--norm", "l2", "--quiet")
BOUNDS = ("--eps", "0.5", "--profile", "quick", "--blocks", "30", "--block-size", "2")


@pytest.mark.slow
def test_charts_of_two_analyses_under_one_title_are_one_figure(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    for command in (
        ("bounds", *FEW, *BOUNDS),
        ("attack", *FEW, "--attack", "ddn"),
        ("linearity", *FEW, "--steps", "2"),
    ):
        assert robcert(*command, "--out", path).status == 0
    with ResultStore.read(path) as store:
        found = results(store)
        charts = {row.name: list(row.charts(store, found)) for row in ANALYSES}
        drawn = figures(store, found)
    assert {name for name, made in charts.items() if made} == {"attack", "bounds", "linearity"}
    (attacked,) = charts["attack"]
    assert isinstance(attacked.content, Shares)
    assert len(attacked.content.columns[0].values) == 3
    titles = {place: [one.title for one in drawn if one.place is place] for place in Place}
    assert titles[Place.CURVES] == ["accuracy within ε (l2)", "local linearity"]
    assert titles[Place.LEDGER] == ["estimated against attacked (l2, logit margin)"]
    assert len(titles[Place.EXTREMES]) == 3  # L, ω and ρ
    assert titles[Place.MASKING] == []
    accuracy = next(one for one in drawn if one.place is Place.CURVES)
    assert accuracy.claim == "attacked"
    assert "under attack (attacked)" in accuracy.svg
    assert "by the ρ-bound, logit margin (estimated)" in accuracy.svg
    assert accuracy.caption.endswith("the estimate is wrong.")
