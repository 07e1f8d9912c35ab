"""What adversarial images in a results file say about the loss around their clean images.

An adversarial image is a point at a known distance at which loss and slope are known. An estimate
of the loss's behaviour within that distance is refuted if it is exceeded there. The same holds for
a perturbation at which a search for gamma ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .group import AnalysisGroup
    from .store import ResultStore

LOSSES = ("ce", "margin", "prob-margin")
"""Losses of an evidence table, in the order of its axis `loss`."""

WITHIN = 1e-6
"""Relative rounding error of a distance that counts as within a radius."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The loss at the adversarial images of one table, ``(n,)`` each; NaN where there is none.

    Attributes:
        table: path of the table.
        distance: of the adversarial image, pixel units; for a search for gamma that of its ball.
        change: loss there minus the loss at the clean image.
        residual: the change minus that of the tangent.
        gradient_norm: dual norm of the gradient at the clean image.
        floor: size below which the numbers may be rounding.
    """

    table: str
    distance: NDArray[np.float64]
    change: NDArray[np.float64]
    residual: NDArray[np.float64]
    gradient_norm: NDArray[np.float64]
    floor: NDArray[np.float64]

    @property
    def slope(self) -> NDArray[np.float64]:
        """Mean slope between the two images, which no Lipschitz constant is below."""
        return np.abs(self.change) / self.distance

    @property
    def excess(self) -> NDArray[np.float64]:
        """Rise of the loss beyond its steepest tangent."""
        return self.change - self.distance * self.gradient_norm

    def within(self, epsilon: float) -> NDArray[np.bool_]:
        """Where there is an adversarial image within ``epsilon``."""
        return np.asarray(self.distance <= epsilon * (1 + WITHIN))


def sided(residual: NDArray[np.float64], sides: str) -> NDArray[np.float64]:
    """The deviation that counts in a search for ``sides``: two, upper or lower."""
    return np.abs(residual) if sides == "two" else residual if sides == "upper" else -residual


def evidence_about(
    store: ResultStore, *, norm: str, loss: str, indices: NDArray[np.int64] | None = None
) -> Iterator[Evidence]:
    """What each table of adversarial images in ``norm`` says about ``loss`` at ``indices``.

    Args:
        store: the results file.
        norm: norm of the distances.
        loss: one of ``LOSSES``; nothing is known about another.
        indices: the images; None for all of the file.
    """
    if loss not in LOSSES:
        return
    for group in store.existing("evidence"):
        if group.settings["norm"] == norm:
            yield _of(group, LOSSES.index(loss), indices)


def other_searches(
    store: ResultStore, group: AnalysisGroup, indices: NDArray[np.int64] | None = None
) -> Iterator[Evidence]:
    """What the other searches for gamma of the file ended at, about the loss of one's table.

    A search that left the pixel box is not evidence about one that stayed in it.

    Args:
        store: the results file.
        group: a linearity table.
        indices: the images; None for all of the file.
    """
    said, same = group.settings, ("norm", "loss")
    for other in store.existing("linearity"):
        if other.path == group.path or any(other.settings[name] != said[name] for name in same):
            continue
        if said.get("box", True) and not other.settings.get("box", True):
            continue
        columns = {
            name: np.asarray(other.column(name, indices), dtype=np.float64)
            for name in ("loss_change", "linear_term", "gradient_dual_norm", "floor")
        }
        change = columns["loss_change"]
        yield Evidence(
            table=other.path,
            distance=np.full(change.shape, other.settings["epsilon"], dtype=np.float64),
            change=change,
            residual=change - columns["linear_term"],
            gradient_norm=columns["gradient_dual_norm"],
            floor=columns["floor"],
        )


def _of(group: AnalysisGroup, at: int, indices: NDArray[np.int64] | None) -> Evidence:
    def column(name: str) -> NDArray[np.float64]:
        values = np.asarray(group.column(name, indices), dtype=np.float64)
        return values if values.ndim == 1 else values[:, at]

    return Evidence(
        table=group.path,
        distance=column("distance"),
        change=column("loss_change"),
        residual=column("residual"),
        gradient_norm=column("gradient_norm"),
        floor=column("floor"),
    )
