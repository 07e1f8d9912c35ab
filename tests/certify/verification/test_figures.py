"""The figure of brackets: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from robcert.certify.verification.figures import _draw_accuracies, _draw_brackets

RADIUS = np.array([0.0, 0.2, 0.6, 0.9])
DISTANCE = np.array([0.05, 0.7, 0.95, np.inf])


@pytest.mark.parametrize("part", ["accuracies", "brackets"])
def test_no_legend_covers_what_is_drawn(part: str) -> None:
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    if part == "accuracies":
        _draw_accuracies(axes, {"certified": RADIUS, "attacked": DISTANCE}, 1.0)
    else:
        _draw_brackets(axes, RADIUS, DISTANCE, 1.0)
    figure.draw_without_rendering()
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y0 >= axes.get_window_extent().y1
