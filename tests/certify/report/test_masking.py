"""The masking section of the report: what it shows of honest, masked and twinless models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.auditing.summaries import latest, results
from robcert.certify.data.arrays import from_arrays
from robcert.certify.hdf5 import CHECKSUM
from robcert.certify.masking.analysis import analyse
from robcert.certify.masking.schema import ADDED
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.summary import MaskingSummary, summarise
from robcert.certify.model.classifier import Classifier
from robcert.certify.report.figures import figures
from robcert.certify.report.masking import MaskingView, masking_view
from robcert.certify.report.page import render
from robcert.certify.report.svg import (
    SMALL,
    curves,
    histogram_rows,
    limit_bar,
    picture,
    surface_map,
)
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore
from robcert.certify.tables.charts import Lines, Place, Series

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 4, 4)
FEW = MaskingSettings(
    epsilon=0.15,
    steps=8,
    restarts=1,
    unbounded_steps=8,
    noise_draws=5,
    queries=60,
    decision_queries=0,
    noisy_copies=2,
)


class Saturated(nn.Module):
    """Two classes; the margin of class 1 is scale * (sum(x) - 8)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        margin = self.scale * (x.flatten(1).sum(1) - 8)
        return torch.stack([torch.zeros_like(margin), margin], 1)


def results_of(
    scale: float, folder: Path, *, twin: bool = True, labels: bool = True, n: int = 40
) -> Path:
    classifier = Classifier.from_module(Saturated(scale), image_shape=SHAPE, num_classes=2)
    if not twin:
        classifier = replace(classifier, twin=None)
    pixels = 0.55 + 0.1 * np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
    images = from_arrays("test", pixels, np.ones(n, np.int64) if labels else None)
    path = folder / "r.h5"
    with ResultStore.open(path, model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(n), store)
        analyse(session, FEW, sources=())
    return path


def view_of(path: Path, *, labelled: bool = True) -> MaskingView:
    with ResultStore.read(path) as store:
        found = results(store)
        summary, group = latest(found, MaskingSummary)
        drawn = [figure for figure in figures(store, found) if figure.place is Place.MASKING]
        assert summary is not None
        assert group is not None
        return masking_view(summary, group, drawn, labelled=labelled)


def test_a_masked_model_shows_its_verdict_its_pictures_and_what_broke_it(tmp_path: Path) -> None:
    path = results_of(1000.0, tmp_path)
    view = view_of(path)
    assert (view.verdict, view.tone) == ("masked", "bad")
    assert view.sentences[0].startswith(
        "Robust accuracy 100.0 % under the naive attack, at most 0.0 %"
    )
    assert [figure.title for figure in view.figures] == [
        "loss along the attack",
        "accuracy by radius",
        "confidence",
        "one loss surface",
    ]
    first = view.checklist[0]
    assert (first.name, first.tone) == ("hidden by the file", "bad")
    assert first.advice
    assert [line.name for line in view.fixes if line.state == "succeeds"]
    assert len(view.images) == 4
    assert "adversarial by" in view.images[0].caption
    assert [text for _, text in view.images[0].pictures][:2] == [
        "class 1",
        "naive: still class 1",
    ]
    with ResultStore.read(path) as store:
        page = render(store)
    order = [page.index(text) for text in ("<strong>masked", "one loss surface", 'class="lines"')]
    assert order == sorted(order)


def test_an_honest_model_has_nothing_in_red(tmp_path: Path) -> None:
    view = view_of(results_of(1.0, tmp_path))
    assert (view.verdict, view.tone) == ("clear", "good")
    assert {line.tone for line in view.checklist} == {"quiet"}
    assert [line.state for line in view.fixes if line.state] == ["not run"] * 7


def test_without_a_twin_there_are_no_pictures_of_gradients(tmp_path: Path) -> None:
    view = view_of(results_of(1.0, tmp_path, twin=False, labels=False), labelled=False)
    assert (view.verdict, view.tone) == ("unknown", "warn")
    assert [figure.title for figure in view.figures] == ["confidence"]
    assert "under attacks without gradient" in view.sentences[0]
    assert "own prediction" in view.note
    assert any(line.state == "not run" and line.tone == "warn" for line in view.checklist)


def test_a_file_from_before_the_pictures_is_still_read(tmp_path: Path) -> None:
    path = results_of(1.0, tmp_path)
    with ResultStore.read(path) as store:
        place = store.existing("masking")[0].path
        before = summarise(store, place)
    with h5py.File(path, "a") as file:
        for name in (*ADDED, "pictures", CHECKSUM):
            del file[place][name]
    with ResultStore.read(path) as store:
        after = summarise(store, place)
    assert after.verdict is before.verdict
    assert after.corrected == before.corrected
    view = view_of(path)
    assert [figure.title for figure in view.figures] == ["loss along the attack", "confidence"]
    assert view.images == ()


def test_a_limit_bar_has_a_dot_a_bar_and_a_tick_where_they_belong() -> None:
    bar = limit_bar(0.5, (0.25, 0.75), 0.1)
    assert 'cx="60.0"' in bar
    assert "M32.0 7.0H88.0" in bar
    assert "M15.2 1V13" in bar
    assert "threshold" not in limit_bar(0.5, (0.25, 0.75), None)


def test_histogram_rows_count_every_value() -> None:
    rows = (("one", np.array([0.0, 0.5, 1.0])), ("two", np.array([0.99, 1.0])))
    svg = histogram_rows(rows, x_label="share", title="both")
    assert svg.count('class="bar') == 4
    assert "two, 0.96 to 1.00: 2" in svg


@pytest.mark.parametrize("flat", [True, False])
def test_a_surface_is_drawn_where_it_is_flat_and_where_it_is_not(flat: bool) -> None:
    loss = np.zeros((5, 5)) if flat else np.add.outer(np.arange(5.0), np.zeros(5))
    classes = (np.add.outer(np.arange(5), np.zeros(5, int)) > 2).astype(int)
    svg = surface_map(loss, classes, epsilon=0.1, title="surface")
    border = svg.split('class="border" d="')[1].split('"')[0]
    # one border of five pieces, halfway between the third and the fourth of five points
    assert border.count("M") == 5
    left, right = 68.0, SMALL[0] - 14
    assert border.startswith(f"M{left + 2.5 / 4 * (right - left):.1f} ")


def test_curves_of_one_claim_can_look_different() -> None:
    one = Series("a", "attacked", ((0.0, 1.0), (1.0, 0.5)), style="naive")
    svg = curves(Lines((one,), "x", "y"), title="t", size=SMALL)
    assert "line naive" in svg
    assert "line attacked" not in svg
    assert picture(np.zeros((1, 2, 2), np.float32), title="p").startswith("<img")
