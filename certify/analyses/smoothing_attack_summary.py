"""What the attacked distances of a smoothed classifier say of the data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..intervals import Proportion, proportion
from ..results_json import plain
from ..smoothing import ABSTAIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..store import ResultStore


@dataclass(frozen=True, slots=True)
class RobustShare:
    """Share of images whose smoothed class no attack changed within ``epsilon`` (l2)."""

    epsilon: float
    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class SmoothingAttackSummary:
    """Numbers of one attack on the smoothed classifier.

    Attributes:
        n: images whose own smoothed class is established.
        undecided: images whose own class is not; they are not attacked.
        success: share of the n images moved to another established class.
        median_distance: median l2 distance over the n images; infinite where most stood.
        robust_accuracy: shares that stood, by distance.
        guarantee: what a distance says.
    """

    n: int
    undecided: int
    success: Proportion
    median_distance: float
    robust_accuracy: tuple[RobustShare, ...]
    guarantee: str

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(self))


def summarise(store: ResultStore, key: str) -> SmoothingAttackSummary:
    """Summary of the table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    known = group.column("reference", indices) != ABSTAIN
    distance = group.column("distance", indices)[known]
    n = int(known.sum())
    settings = group.settings
    level = 1 - settings["alpha"]
    return SmoothingAttackSummary(
        n=n,
        undecided=int((~known).sum()),
        success=proportion(int(np.isfinite(distance).sum()), n),
        median_distance=float(np.median(distance)) if n else float("nan"),
        robust_accuracy=tuple(
            _stood(distance, epsilon) for epsilon in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
        ),
        guarantee=(
            f"For each image separately, with probability at least {level:g} over the noise that "
            "robcert drew, the smoothed classifier (the model under unclipped Gaussian noise of "
            f"σ = {settings['sigma']:g} in pixel units) gives the attacked image another class "
            "than the image: its certified radius there is at most the distance."
        ),
    )


def _stood(distance: NDArray[np.float64], epsilon: float) -> RobustShare:
    share = proportion(int((distance > epsilon).sum()), len(distance))
    return RobustShare(epsilon, share.value, share.lower, share.upper)
