"""Summary of `robcert verify`: certified accuracy, and the bracket of robust accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import Proportion, proportion
from robcert.certify.store import ledger, nearest_adversarial, plain

from .outcome import Arithmetic, Method, Open
from .schema import METHODS, REASONS
from .settings import guarantee
from .unfinished import WhyOpen, advice, cut_off, why_open

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

LEVEL = 0.95
"""Level of the intervals of accuracies."""


@dataclass(frozen=True, slots=True)
class ProvenAccuracy:
    """Certified: share of images whose class no input within ``epsilon`` changes.

    Attributes:
        epsilon: radius, pixel units.
        value: share of the ``n`` images; without error probability.
        lower: lower end of its 95 % interval for other images of the same law.
        upper: upper end.
        n: number of images.
    """

    epsilon: float
    value: float
    lower: float
    upper: float
    n: int


@dataclass(frozen=True, slots=True)
class AccuracyBracket:
    """Robust accuracy of the images at ``epsilon``: certified <= truth <= attacked.

    Attributes:
        epsilon: radius, pixel units.
        certified: share that is certified.
        attacked: share without a known adversarial image.
        width: their difference, the share of images that are open.
        open: number of open images by reason.
        why: the same in more detail, the most frequent first.
    """

    epsilon: float
    certified: float
    attacked: float
    width: float
    open: dict[str, int]
    why: tuple[WhyOpen, ...] = ()


@dataclass(frozen=True, slots=True)
class RadiusStatistics:
    """Certified radii of all images, misclassified ones at 0; pixel units, NaN without images.

    Attributes:
        mean: mean.
        median: median.
        largest: largest.
        positive: number of images with a radius above 0.
        median_gap: median of attacked distance minus certified radius, of the images with both.
    """

    mean: float
    median: float
    largest: float
    positive: int
    median_gap: float


@dataclass(frozen=True, slots=True)
class Seconds:
    """Measured time per image.

    Attributes:
        mean: proofs, on average.
        radius: the part of it that the search for the largest radius took.
        longest: proofs of the slowest image.
        attack: attacks, on average; 0 where another analysis of the file had run them.
    """

    mean: float
    radius: float
    longest: float
    attack: float


@dataclass(frozen=True, slots=True)
class VerificationSummary:
    """Certificates of the model itself, beside the attacks on it.

    Attributes:
        norm: norm of radii and distances.
        method: requested method.
        arithmetic: the evaluation of the network that certificates speak about.
        budget: seconds per image.
        n: number of images.
        reference: what counts as right: the labels, or the model's own predictions.
        clean_accuracy: share classified correctly, with its 95 % interval.
        certified_accuracy: by radius.
        robust_accuracy: from certified to attacked, by radius.
        headline_epsilon: radius that is stated first.
        radius: statistics of the certified radii.
        by_method: number of images whose radius each method proved.
        timed_out: number of images whose proofs the budget ended.
        mean_branches: regions of unit signs per image, on average.
        seconds: time per image.
        advice: what may decide images that are open, one sentence each.
        guarantee: what a certificate states.
        warnings: limitations of the numbers.
        complete: whether every selected image has its row.
    """

    norm: str
    method: str
    arithmetic: str
    budget: float
    n: int
    reference: str
    clean_accuracy: Proportion
    certified_accuracy: tuple[ProvenAccuracy, ...]
    robust_accuracy: tuple[AccuracyBracket, ...]
    headline_epsilon: float
    radius: RadiusStatistics
    by_method: dict[str, int]
    timed_out: int
    mean_branches: float
    seconds: Seconds
    advice: tuple[str, ...]
    guarantee: str
    warnings: tuple[str, ...]
    complete: bool

    @property
    def headline(self) -> AccuracyBracket | None:
        """The bracket at the headline's radius; None without images."""
        return self.at(self.headline_epsilon) if self.n else None

    def at(self, epsilon: float, tolerance: float = 1e-9) -> AccuracyBracket | None:
        """The bracket at ``epsilon``, pixel units; None if it was not decided there."""
        near = (one for one in self.robust_accuracy if abs(one.epsilon - epsilon) <= tolerance)
        return next(near, None)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(self))


def summarise(store: ResultStore, key: str) -> VerificationSummary:
    """Summary of the table of certificates at path ``key``, from the file alone.

    The attacked side of a bracket counts every adversarial image that the file holds in this norm.
    """
    group = store.at(key)
    indices = finished(group)
    settings, epsilons = group.settings, tuple(map(float, group.attribute("epsilons", [])))
    radius = group.column("radius", indices)
    distance = known_distances(store, group, indices)
    arithmetic = Arithmetic(settings["arithmetic"])
    brackets = tuple(_bracket(group, indices, distance, place) for place in range(len(epsilons)))
    labels = store.labels[store.rows(indices)]
    return VerificationSummary(
        norm=str(settings["norm"]),
        method=str(settings["method"]),
        arithmetic=str(arithmetic),
        budget=float(settings["seconds"]),
        n=len(indices),
        reference="label" if (labels >= 0).any() else "the model's own prediction",
        clean_accuracy=proportion(int((distance > 0).sum()), len(indices), level=LEVEL),
        certified_accuracy=tuple(_proven(radius, epsilon) for epsilon in epsilons),
        robust_accuracy=brackets,
        headline_epsilon=epsilons[0],
        radius=_statistics(radius, distance),
        by_method=_by_method(group, indices),
        timed_out=int(timed_out(group, indices).sum()),
        mean_branches=_mean(group.column("branches", indices)),
        seconds=_seconds(group, indices),
        advice=advice(
            [one for bracket in brackets for one in bracket.why],
            method=Method(settings["method"]),
            budget=float(settings["seconds"]),
            incomplete=cut_off(group, indices),
            n=len(indices),
        ),
        guarantee=guarantee(
            str(settings["norm"]), arithmetic, integer_input=store.input_step is not None
        ),
        warnings=_warnings(store, group),
        complete=group.complete,
    )


def certified_at(store: ResultStore, key: str, epsilon: float) -> ProvenAccuracy:
    """Certified accuracy at any radius, by the stored radii of the table at path ``key``.

    At a radius at which images were not decided it may be lower than proofs there would make it.
    """
    group = store.at(key)
    return _proven(np.asarray(group.column("radius", finished(group)), np.float64), epsilon)


def finished(group: AnalysisGroup) -> NDArray[np.int64]:
    """Images of the result; a time budget of the whole run may have excluded some."""
    indices = group.indices
    return indices[group.computed(indices)]


def known_distances(
    store: ResultStore, group: AnalysisGroup, indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Nearest adversarial images in any table of the file in the norm of ``group`` ``(n,)``.

    Attacked, pixel units; 0 where misclassified, inf where none is known.
    """
    return nearest_adversarial(store, str(group.settings["norm"]), indices)


def timed_out(group: AnalysisGroup, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images ``(n,)`` the budget ended: the next run may prove more, or less."""
    time = REASONS.index(Open.TIME)
    late = group.column("radius_reason", indices) == time
    return np.asarray(late | (group.column("reason", indices) == time).any(axis=1))


def _proven(radius: NDArray[np.float64], epsilon: float) -> ProvenAccuracy:
    share = proportion(int((radius >= epsilon).sum()), len(radius), level=LEVEL)
    return ProvenAccuracy(epsilon, share.value, share.lower, share.upper, len(radius))


def _bracket(
    group: AnalysisGroup,
    indices: NDArray[np.int64],
    distance: NDArray[np.float64],
    place: int,
) -> AccuracyBracket:
    """The bracket at the radius number ``place`` of the table."""
    epsilon = float(group.attribute("epsilons")[place])
    certified = group.column("radius", indices) >= epsilon
    unbroken = (distance > epsilon) | certified  # the radius of a masking check is rounded
    undecided = unbroken & ~certified
    reasons = group.column("reason", indices[undecided])[:, place]
    counts = {
        str(reason): int((reasons == code).sum())
        for code, reason in enumerate(REASONS)
        if reason not in (Open.NO, Open.REFUTED)
    }
    width = _mean(undecided)
    why = why_open(group, indices[undecided], place)
    return AccuracyBracket(epsilon, _mean(certified), _mean(unbroken), width, counts, why)


def _seconds(group: AnalysisGroup, indices: NDArray[np.int64]) -> Seconds:
    seconds = group.column("seconds", indices)
    return Seconds(
        mean=_mean(seconds),
        radius=_mean(group.column("radius_seconds", indices)),
        longest=float(seconds.max()) if len(seconds) else float("nan"),
        attack=float(group.attribute("attack_seconds", 0.0)),
    )


def _statistics(radius: NDArray[np.float64], distance: NDArray[np.float64]) -> RadiusStatistics:
    both = (radius > 0) & np.isfinite(distance)
    return RadiusStatistics(
        mean=_mean(radius),
        median=_median(radius),
        largest=float(radius.max()) if len(radius) else float("nan"),
        positive=int((radius > 0).sum()),
        median_gap=_median((distance - radius)[both]),
    )


def _by_method(group: AnalysisGroup, indices: NDArray[np.int64]) -> dict[str, int]:
    codes = group.column("method", indices)
    return {
        str(name): int((codes == code).sum())
        for code, name in enumerate(METHODS)
        if name is not Method.AUTO
    }


def _warnings(store: ResultStore, group: AnalysisGroup) -> tuple[str, ...]:
    contradictions = [
        one for one in ledger(store).contradictions if one.estimate.startswith(f"{group.path}:")
    ]
    count = sum(one.count for one in contradictions)
    if not count:
        return ()
    return (
        f"{count} certified radii reach the distance of an adversarial image: this is a fault of "
        "robcert, and no number of this table can be trusted",
    )


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
