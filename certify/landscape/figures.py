"""Figures of a loss surface and of Taylor curves; the file extension selects the format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.tables import save_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def save_surface(path: Path, grids: dict[str, NDArray[Any]], *, epsilon: float, title: str) -> None:
    """Draw the loss as contours with class boundaries, and as a surface in three dimensions.

    Args:
        path: file of the figure.
        grids: `offsets` (m,), `cross_entropy` and `prediction` (m, m), first axis adversarial.
        epsilon: length of both directions, pixel units.
        title: title of the figure.
    """
    figure = _figure(width=11.0)
    place = grids["offsets"] * epsilon
    loss, classes = grids["cross_entropy"].T, grids["prediction"].T
    flat = figure.add_subplot(1, 2, 1)
    filled = flat.contourf(place, place, loss, levels=24, cmap="viridis")
    present = np.unique(classes)
    if len(present) > 1:
        flat.contour(place, place, np.searchsorted(present, classes), colors="white", linewidths=1)
    flat.plot(0, 0, "w+", markersize=10)
    figure.colorbar(filled, ax=flat, label="cross-entropy (nat)")
    _axes(flat, "adversarial direction (pixel units)", "random direction (pixel units)")
    solid: Any = figure.add_subplot(1, 2, 2, projection="3d")
    across, along = np.meshgrid(place, place)
    solid.plot_surface(across, along, loss, facecolors=_class_colours(classes), linewidth=0)
    solid.set_box_aspect(None, zoom=0.85)  # otherwise the axis labels are cut off
    solid.set_zlabel("cross-entropy (nat)")
    solid.locator_params(nbins=5)
    _axes(solid, "adversarial", "random")
    solid.set_title("coloured by class")
    figure.suptitle(title)
    save_picture(figure, path)


def save_taylor(
    path: Path,
    t: NDArray[np.float64],
    loss: NDArray[np.float64],
    curves: Sequence[tuple[str, NDArray[np.float64]]],
    *,
    title: str,
) -> None:
    """Draw the loss along a line and its approximations, with their names in the legend."""
    figure = _figure(width=6.5)
    axes = figure.add_subplot()
    axes.plot(t, loss, color="black", linewidth=2, label="loss")
    for name, values in curves:
        axes.plot(t, values, linewidth=1, label=name)
    extent = float(np.ptp(loss)) or 1.0
    axes.set_ylim(float(loss.min()) - extent, float(loss.max()) + extent)
    axes.legend()
    _axes(axes, "t", "mean loss at x + t η")
    figure.suptitle(title)
    save_picture(figure, path)


def _figure(*, width: float) -> Figure:
    """An empty figure."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, 4.8), dpi=120, layout="constrained")


def _axes(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def _class_colours(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Colours ``(m, m, 4)``, one per class."""
    from matplotlib import colormaps

    return np.asarray(colormaps["tab20"](classes % 20))
