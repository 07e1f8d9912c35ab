r"""Local linearity of several models, or of one model during training, on the same images.

Histograms of :math:`\sqrt{\gamma}` side by side, and gamma against the epochs of a training run
(Qin et al. 2019, arXiv:1907.02610, figures F3 and 2), from the tables of `robcert linearity`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import summary_statistics
from robcert.certify.store import plain
from robcert.certify.tables import DASH, Table, decimal, pixel, save_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from robcert.certify.store import ResultStore

BINS = 40

QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Measured:
    """Gamma of one model at one radius.

    Attributes:
        name: name of the model.
        results: path of its results file.
        epoch: epochs that it was trained for, None if the models are not one training run.
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        gamma: gamma of each image ``(n,)``.
        run: name of the training run; empty if there is one, or none.
    """

    name: str
    results: str
    epoch: int | None
    norm: str
    epsilon: float
    gamma: NDArray[np.float64]
    run: str = ""

    @classmethod
    def of(
        cls, store: ResultStore, key: str, *, name: str, epoch: int | None = None, run: str = ""
    ) -> Measured:
        """Values of the linearity table at path ``key``."""
        group = store.at(key)
        indices = group.indices
        gamma = group.column("gamma", indices[group.computed(indices)])
        settings = group.settings
        norm, epsilon = settings["norm"], settings["epsilon"]
        return cls(name, str(store.path), epoch, norm, epsilon, gamma, run)

    def to_json(self) -> dict[str, Any]:
        """The values as plain JSON, gamma by its summary statistics."""
        gamma = asdict(summary_statistics(self.gamma))
        root = summary_statistics(np.sqrt(self.gamma))
        facts = {"name": self.name, "results": self.results, "epoch": self.epoch}
        return dict(
            plain({**facts, "norm": self.norm, "epsilon": self.epsilon, "gamma": gamma})
            | {"root_gamma": plain({"mean": root.mean, "median": root.median})}
        )


def series_table(series: Sequence[Measured]) -> Table:
    """Table of gamma of each model at each radius."""
    rows = tuple(
        (
            one.name,
            DASH if one.epoch is None else str(one.epoch),
            pixel(one.epsilon),
            *_numbers(one.gamma),
            str(len(one.gamma)),
        )
        for one in series
    )
    header: tuple[str, ...]
    header = ("model", "epoch", "ε", "mean γ", "median", "95 %", "max", "mean √γ", "images")
    if all(one.epoch is None for one in series):
        header, rows = _without(header, 1), tuple(_without(row, 1) for row in rows)
    note = "Lower estimates, found by search with the same images, settings and random starts."
    return Table(f"local linearity γ ({series[0].norm})", "estimated", header, rows, note)


def save_histogram(path: Path, series: Sequence[Measured]) -> None:
    r"""Save histograms of :math:`\sqrt{\gamma}` with common bins, one panel per radius.

    Raises:
        InvalidParameterError: the path has no extension of an image format.
    """
    from matplotlib.figure import Figure

    radii = list(dict.fromkeys(one.epsilon for one in series))
    figure = Figure(figsize=(6.5 * len(radii), 4.8), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(radii), squeeze=False)[0]
    for axes, radius in zip(panels, radii, strict=True):
        _histogram(axes, [one for one in series if one.epsilon == radius])
    figure.suptitle("local linearity (estimated)")
    save_picture(figure, path)


def save_course(path: Path, series: Sequence[Measured]) -> None:
    """Save gamma against the epochs of training: median and quartiles over images, mean dashed.

    A curve for each radius, and for each training run if there are several.

    Raises:
        InvalidParameterError: the path has no extension of an image format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for run, radius in dict.fromkeys((one.run, one.epsilon) for one in series):
        along = [one for one in series if (one.run, one.epsilon) == (run, radius)]
        epochs = np.array([-1 if one.epoch is None else one.epoch for one in along])
        low, middle, high = np.array([np.quantile(one.gamma, QUARTILES) for one in along]).T
        name = f"{run}, ε = {pixel(radius)}" if run else f"ε = {pixel(radius)}"
        line = axes.plot(epochs, middle, marker="o", label=f"{name}, median and quartiles")[0]
        colour = line.get_color()
        axes.fill_between(epochs, low, high, alpha=0.2, color=colour, linewidth=0)
        means = [float(one.gamma.mean()) for one in along]
        axes.plot(epochs, means, "--", color=colour, label=f"{name}, mean")
    if all((one.gamma > 0).any() for one in series):
        axes.set_yscale("log")
    axes.set_xlabel("epochs of training")
    axes.set_ylabel(f"γ ({series[0].norm}, estimated)")
    axes.grid(alpha=0.3)
    axes.legend()
    save_picture(figure, path)


def _histogram(axes: Axes, series: Sequence[Measured]) -> None:
    roots = [np.sqrt(one.gamma) for one in series]
    largest = max((float(values.max(initial=0.0)) for values in roots), default=0.0) or 1.0
    bins = np.linspace(0.0, largest, BINS + 1)
    for one, values in zip(series, roots, strict=True):
        name = one.name if one.epoch is None else f"epoch {one.epoch}"
        axes.hist(values, bins.tolist(), alpha=0.5, label=name)
    axes.set_xlabel(f"√γ at ε = {pixel(series[0].epsilon)} ({series[0].norm})")
    axes.set_ylabel("images")
    axes.legend()


def _numbers(gamma: NDArray[np.float64]) -> tuple[str, ...]:
    one = summary_statistics(gamma)
    numbers = (one.mean, one.median, one.q95, one.max, float(np.sqrt(gamma).mean()))
    return tuple(decimal(number) for number in numbers)


def _without(cells: tuple[str, ...], position: int) -> tuple[str, ...]:
    return cells[:position] + cells[position + 1 :]
