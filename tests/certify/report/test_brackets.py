"""The figure of brackets: its bars lie within the axes, on their places, and do not overlap."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from robcert.certify.report.svg import BOTTOM, LARGE, LEFT, RIGHT, TOP, brackets

if TYPE_CHECKING:
    from numpy.typing import NDArray

INF = float("inf")
WIDTH, HEIGHT = LARGE
LETTER = 7.6
"""Width of a letter of a label, in the widest of the fonts."""


class Bar(NamedTuple):
    claim: str
    x: float
    y: float
    width: float
    height: float


def drawn(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> str:
    labels = {"x_label": "images", "y_label": "distance (linf), pixel units"}
    return brackets(lower, upper, **labels, title="brackets")


def bars(svg: str) -> list[Bar]:
    pattern = r'<rect class="bar (\w+)" x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"'
    return [Bar(m[0], *map(float, m[1:])) for m in re.findall(pattern, svg)]


def cases() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    random = np.random.default_rng(0)
    lower = np.sort(random.random(300)) * (random.random(300) > 0.2)
    upper = lower + random.random(300)
    upper[::17], upper[::31], lower[::31] = INF, 0.0, 0.0
    return {
        "one": (np.array([0.1]), np.array([0.2])),
        "few": (np.array([0.0, 0.1, 0.2]), np.array([0.05, 0.3, INF])),
        "many": (lower, upper),
        "misclassified": (np.zeros(4), np.zeros(4)),
        "unbroken": (np.array([0.0, 0.01]), np.array([INF, INF])),
        "tight": (np.array([0.1, 0.2]), np.array([0.1 + 1e-12, 0.2 + 1e-12])),
        "small": (np.array([1e-5, 2e-5]), np.array([3e-5, 4e-5])),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_bars_lie_within_the_axes(name: str) -> None:
    svg = drawn(*cases()[name])
    assert "nan" not in svg
    assert "inf" not in svg.replace("linf", "")
    for bar in bars(svg):
        assert bar.width > 0
        assert bar.height >= 0
        assert LEFT <= bar.x <= bar.x + bar.width <= WIDTH - RIGHT + 0.01
        assert TOP - 0.01 <= bar.y <= bar.y + bar.height <= HEIGHT - BOTTOM + 0.01


@pytest.mark.parametrize("name", list(cases()))
def test_labels_lie_within_the_figure(name: str) -> None:
    pattern = r'<text class="tick" x="(.*?)" y="(.*?)" text-anchor="(\w+)">(.*?)</text>'
    ticks = [
        (float(x), float(y), at, text)
        for x, y, at, text in re.findall(pattern, drawn(*cases()[name]))
    ]
    below = [(x, len(text) * LETTER) for x, y, at, text in ticks if at == "middle"]
    assert all(text.isdigit() for *_, at, text in ticks if at == "middle")  # numbers of images
    for x, y, at, text in ticks:
        share = {"end": 1.0, "middle": 0.5}[at]
        left = x - share * LETTER * len(text)
        assert left >= 13  # the label of the axis stands there
        assert left + LETTER * len(text) <= WIDTH + 0.1
        assert 0 < y <= HEIGHT
    for (x, wide), (following, wider) in pairwise(below):
        assert x + wide / 2 < following - wider / 2


def test_the_parts_of_a_column_meet_and_do_not_overlap() -> None:
    lower, upper = np.array([0.1, 0.2]), np.array([0.3, INF])
    found = bars(drawn(lower, upper))
    first, second = ([bar for bar in found if bar.x == x] for x in sorted({bar.x for bar in found}))
    assert {bar.claim for bar in first} == {"certified", "measured", "attacked"}
    assert {bar.claim for bar in second} == {"certified", "measured"}
    for column in (first, second):
        stacked = sorted(column, key=lambda bar: bar.y)
        for above, below in pairwise(stacked):
            assert above.y + above.height == pytest.approx(below.y, abs=0.02)
    assert min(bar.y for bar in second) == pytest.approx(TOP)  # none was found: it has no end
    scale = (HEIGHT - TOP - BOTTOM) / (1.05 * 0.3)
    (mark,) = [bar for bar in first if bar.claim == "attacked"]
    assert mark.y + mark.height / 2 == pytest.approx(HEIGHT - BOTTOM - 0.3 * scale, abs=0.02)
    (proven,) = [bar for bar in first if bar.claim == "certified"]
    assert proven.height == pytest.approx(0.1 * scale, abs=0.02)
