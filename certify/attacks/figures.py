"""Accuracy under attack against the distance: charts of the report, and figures as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.core import Norm
from robcert.certify.stats import reach_of, shares_above, step_places
from robcert.certify.tables import Chart, Distances, Shares, save_picture

from .summary import LEVEL, ROUNDING, counted_distances, distance_limit, distances_per_attack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

    from .summary import AttackSummary
    from .transfer_analysis import TransferSummary


def charts(
    store: ResultStore, found: Sequence[tuple[AttackSummary, AnalysisGroup]]
) -> Iterator[Chart]:
    """Accuracy under attack against the distance, one chart per norm."""
    for norm in (Norm.LINF, Norm.L2, Norm.L1):
        groups = [group for summary, group in found if summary.norm == norm]
        columns = tuple(
            Distances(
                "under attack",
                "attacked",
                counted_distances(store, group, group.indices),
                only_at=tuple(
                    distance_limit(group, at) for at in sorted(group.settings.get("radii") or ())
                ),
            )
            for group in groups
        )
        if columns:
            caption = "The true accuracy is at most the attacked curve. Bands: 95 % intervals."
            if any(column.only_at for column in columns):
                caption += " Dots: attacks were held to these radii, and tell of no other."
            content = Shares(columns, f"distance ε ({norm})")
            title = f"accuracy within ε ({norm})"
            yield Chart(title, "attacked", caption, content, name=f"{norm} accuracy")


@dataclass(frozen=True, slots=True)
class AccuracyCurve:
    """Shares of images with their intervals.

    Attributes:
        name: its name in the legend.
        epsilon: distances ``(m,)``, ascending, pixel units.
        share: ``(m, 3)``: share still classified correctly, lower and upper limit.
        everywhere: whether a share holds up to the next distance; else at its distance only.
    """

    name: str
    epsilon: NDArray[np.float64]
    share: NDArray[np.float64]
    everywhere: bool


def attack_curve(group: AnalysisGroup) -> AccuracyCurve:
    """Accuracy against distance of an attack table.

    At every distance, from the nearest adversarial images; if attacks searched at given radii only,
    at 0 and at those.
    """
    indices = group.indices
    distance = np.asarray(group.column("distance", indices[group.computed(indices)]))
    names = list(group.attribute("attacks", []))
    name = " + ".join(names) if len(names) < 4 else f"best of {len(names)} attacks"
    return _curve(group, name, distance)


def per_attack_curves(group: AnalysisGroup) -> list[AccuracyCurve]:
    """The same for each attack alone; empty if the attacks ran on what the others left."""
    indices = group.indices
    names = tuple(group.attribute("attacks", []))
    found = distances_per_attack(group, names, indices[group.computed(indices)])
    return [_curve(group, name, distance) for name, distance in found.items()]


def _curve(group: AnalysisGroup, name: str, distance: NDArray[np.float64]) -> AccuracyCurve:
    radii = sorted(group.settings.get("radii") or ())
    if radii:
        epsilon = np.array([0.0, *radii])
        share = shares_above(distance, epsilon * (1 + ROUNDING), LEVEL)
        return AccuracyCurve(name, epsilon, share, False)
    wanted = [float(e) for e in group.attribute("epsilons", [])]
    epsilon = step_places(distance, max([reach_of([distance]), *wanted]), wanted)
    return AccuracyCurve(name, epsilon, shares_above(distance, epsilon, LEVEL), True)


def transfer_curves(summary: TransferSummary) -> list[AccuracyCurve]:
    """Accuracy against distance for each source of a transfer table's summary."""
    clean = summary.clean_accuracy
    found = []
    for one in summary.sources:
        epsilon = np.array([0.0, *(entry.epsilon for entry in one.robust_accuracy)])
        shares = [(entry.value, entry.lower, entry.upper) for entry in one.robust_accuracy]
        share = np.array([(clean.value, clean.lower, clean.upper), *shares], np.float64)
        found.append(AccuracyCurve(f"from {one.source}", epsilon, share, False))
    return found


def save_accuracy(path: Path, curves: list[AccuracyCurve], *, norm: str, title: str) -> None:
    """Draw ``curves``: bands are 95 % intervals where a curve is known everywhere, else bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        _draw(axes, curve)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"distance ε ({norm}, pixel units)")
    axes.set_ylabel("accuracy (attacked)")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, ncols=2)  # covers none
    figure.suptitle(title)
    save_picture(figure, path)


def _draw(axes: Axes, curve: AccuracyCurve) -> None:
    value, lower, upper = curve.share.T
    if not curve.everywhere:
        lengths: Any = np.stack([value - lower, upper - value]).clip(min=0)
        axes.errorbar(curve.epsilon, value, lengths, marker="o", capsize=3, label=curve.name)
        return
    line = axes.step(curve.epsilon, value, where="post", label=curve.name)[0]
    band: Any = {"step": "post", "alpha": 0.2, "color": line.get_color(), "linewidth": 0}
    axes.fill_between(curve.epsilon, lower, upper, **band)
