"""Pictures show the names of foreign models as they are: no control characters, no formulas."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from robcert.certify.local_linearity.series import Measured, save_course, save_histogram
from robcert.certify.tables import save_picture

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "a\x1b]0;t\x07\x9b2J\u202eb $\\frac{ ^ 100 % </text><script>"
SHOWN = r"a\u001b]0;t\u0007\u009b2J\u202eb $\frac{ ^ 100 %"


def texts(path: Path) -> str:
    """The texts of an SVG, which has no control characters in it."""
    content = path.read_text(encoding="utf-8")
    assert not {c for c in content if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"}
    assert "<script>" not in content
    return content


@pytest.fixture(autouse=True)
def _texts_as_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")


def test_every_text_of_a_figure_is_shown_as_it_is(tmp_path: Path) -> None:
    figure = Figure(figsize=(30, 10), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [1, 2], label=HOSTILE)
    left.legend(title=HOSTILE)
    left.set_title(HOSTILE)
    left.set_xlabel(HOSTILE)
    left.set_yticks([1, 2], [HOSTILE, "b"])
    left.annotate(HOSTILE, (0, 1))
    right.set_yscale("log")
    right.plot([0, 1], [1e-3, 1e3])
    figure.suptitle(HOSTILE)
    save_picture(figure, tmp_path / "p.svg")
    content = texts(tmp_path / "p.svg")
    assert content.count(f">{SHOWN}") == 7
    drawn = re.sub("<!--.*?-->", "", content)
    assert "mathdefault" not in drawn  # numbers of the logarithmic axis are still formulas
    assert "<tspan" in drawn  # which have exponents


def test_ticks_of_a_figure_stay_where_they_are(tmp_path: Path) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], [0.3, 0.9])
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    before = axes.get_ylim()
    save_picture(figure, tmp_path / "p.png")
    assert axes.get_ylim() == before


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_pictures_of_models_with_hostile_names_are_drawn(suffix: str, tmp_path: Path) -> None:
    gamma = np.array([0.1, 0.2, 0.4])
    series = [Measured(HOSTILE, "r.h5", epoch, "linf", 0.1, gamma) for epoch in (None, 1)]
    for save in (save_histogram, save_course):
        path = tmp_path / f"{save.__name__}{suffix}"
        save(path, series)
        assert path.stat().st_size > 1000
    if suffix == ".svg":
        assert SHOWN in texts(tmp_path / "save_histogram.svg")
