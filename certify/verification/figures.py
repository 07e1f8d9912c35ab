"""Certificates in pictures, of the report and as files: shares by radius, bracket of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import reach_of, shares_above, step_places
from robcert.certify.tables import Brackets, Chart, Distances, Shares, save_picture

from .summary import LEVEL, finished, known_distances

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

    from .summary import VerificationSummary


def charts(
    store: ResultStore, found: Sequence[tuple[VerificationSummary, AnalysisGroup]]
) -> Iterator[Chart]:
    """Certified accuracy by radius, in the figure of the attacked one, then the brackets."""
    for summary, group in found:
        yield _certified(summary, group)
    for summary, group in found:
        yield _brackets(store, summary, group)


def _certified(summary: VerificationSummary, group: AnalysisGroup) -> Chart:
    radius = np.asarray(group.column("radius", finished(group)), np.float64)
    caption = "The true accuracy is at least the certified curve. Bands: 95 % intervals."
    columns = (Distances("certified, the model itself", "certified", radius),)
    content = Shares(columns, f"distance ε ({summary.norm})")
    title = f"accuracy within ε ({summary.norm})"
    return Chart(title, "certified", caption, content, name=f"{summary.norm} accuracy")


def _brackets(store: ResultStore, summary: VerificationSummary, group: AnalysisGroup) -> Chart:
    indices = finished(group)
    radius = np.asarray(group.column("radius", indices), np.float64)
    distance = known_distances(store, group, indices)
    order = np.lexsort((distance, radius))
    caption = (
        "One column per image, sorted by certified radius. Within the green part no input has "
        "another class (certified); at the red mark or nearer an adversarial image was found "
        "(attacked); the true distance of the nearest one lies in between. Where a column reaches "
        "the top without a mark, none was found, or it lies beyond the axis."
    )
    content = Brackets(
        radius[order], distance[order], "images", f"distance ({summary.norm}), pixel units"
    )
    title = f"certified radius and attacked distance of each image ({summary.norm})"
    return Chart(title, "certified", caption, content, name=f"{summary.norm} brackets")


LOOKS = {"certified": "tab:green", "attacked": "tab:red", "open": "0.8"}
"""Colour of each part of a bracket."""

OUTSIDE: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False}
"""Place of a legend: above its axes, so that it covers nothing."""


def save_brackets(path: Path, store: ResultStore, key: str) -> None:
    """Draw the table of certificates at ``key`` into the file ``path``.

    Above: certified and attacked accuracy against distance, with 95 % intervals; the true accuracy
    lies between the curves. Below: the bracket of each image, sorted by certified radius.
    """
    from matplotlib.figure import Figure  # importing it takes a second

    group = store.at(key)
    indices, norm = finished(group), group.settings["norm"]
    radius = np.asarray(group.column("radius", indices), np.float64)
    distance = known_distances(store, group, indices)
    epsilons = [float(epsilon) for epsilon in group.attribute("epsilons")]
    reach = max([reach_of([radius, distance]), *epsilons]) * 1.05
    figure = Figure(figsize=(6.5, 8.0), dpi=120, layout="constrained")
    above, below = figure.subplots(2, 1)
    _draw_accuracies(above, {"certified": radius, "attacked": distance}, reach)
    for epsilon in epsilons:
        above.axvline(epsilon, color="0.5", linewidth=0.8, linestyle=":")
    above.set_xlabel(f"distance ε ({norm}, pixel units)")
    _draw_brackets(below, radius, distance, reach)
    below.set_ylabel(f"distance ({norm}, pixel units)")
    count = len(indices)
    images = "1 image" if count == 1 else f"{count} images"
    figure.suptitle(f"{store.model['file']} on {images} of {store.data['name']}")
    save_picture(figure, path)


def _draw_accuracies(axes: Axes, columns: dict[str, NDArray[np.float64]], reach: float) -> None:
    """Share of images beyond each distance, by claim."""
    for claim, values in columns.items():
        places = step_places(values, reach)
        share, lower, upper = shares_above(values, places, LEVEL).T
        look: Any = {"color": LOOKS[claim], "step": "post", "alpha": 0.15, "linewidth": 0}
        axes.step(places, share, where="post", color=LOOKS[claim], label=claim)
        axes.fill_between(places, lower, upper, **look)
    axes.set_xlim(0, reach)
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.grid(alpha=0.3)
    axes.legend(**OUTSIDE, ncols=len(columns))


def _draw_brackets(
    axes: Axes, radius: NDArray[np.float64], distance: NDArray[np.float64], reach: float
) -> None:
    """One column per image; where no adversarial image is known, the open part has no end."""
    order = np.lexsort((distance, radius))
    lower, upper = radius[order], distance[order]
    places = np.arange(len(order))
    width = 0.9 if len(order) <= 100 else 1.0  # gaps of a few pixels only blur many columns
    ends = np.minimum(upper, reach)
    green = axes.bar(places, lower, width, color=LOOKS["certified"], label="certified")
    grey = axes.bar(places, ends - lower, width, bottom=lower, color=LOOKS["open"], label="open")
    known = upper <= reach
    marks: Any = {"color": LOOKS["attacked"], "linewidth": 1.5, "label": "attacked"}
    red = axes.hlines(upper[known], places[known] - width / 2, places[known] + width / 2, **marks)
    axes.set_xlim(-0.5, max(len(order), 1) - 0.5)
    axes.set_ylim(0, reach)
    axes.set_xlabel("images, by certified radius")
    axes.set_xticks([])
    axes.legend(handles=[green, grey, red], **OUTSIDE, ncols=3)
