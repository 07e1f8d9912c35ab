"""Summary of a smoothing table: certified accuracy, draws, warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.core import Norm
from robcert.certify.numerics import NO_CLASS, NOISE_BLOCK
from robcert.certify.stats import binomial_quantile, population_lower, proportion
from robcert.certify.store import OF_MODEL, plain

from .certificate import ABSTAIN, largest_radius, norm_factor
from .precision import Precision
from .settings import (
    UNIT_OF_RADII,
    Mode,
    SmoothingSettings,
    attainable_radii,
    guarantee,
    schedule,
)
from .undefined import undefined_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

LEVEL = 0.95
CHANGED_SHARE = 0.25
"""More images than this that noise alone moves to another class: a warning."""


@dataclass(frozen=True, slots=True)
class CertifiedAccuracy:
    """Share of images certified for the right class at ``radius``.

    Attributes:
        radius: l2, pixel units.
        value: observed share.
        lower: lower end of its two-sided 95 % interval.
        upper: upper end.
        population_lower: lower limit (95 %, this radius alone) for unseen images of the same law,
            certificates that may be wrong included.
        attainable: whether any image can be certified here with these n and alpha.
    """

    radius: float
    value: float
    lower: float
    upper: float
    population_lower: float
    attainable: bool


@dataclass(frozen=True, slots=True)
class NormRadii:
    """The same certificates in another norm: l2 radii times ``factor``."""

    norm: str
    factor: float
    average_certified_radius: float
    largest_certifiable: float


@dataclass(frozen=True, slots=True)
class SampleBin:
    """Images that took ``low`` to ``high`` draws, both included."""

    low: int
    high: int
    images: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An image that the time budget cut off: what its interim analyses certify so far.

    Attributes:
        index: position in the data set.
        prediction: certified class, -1 for none.
        n_used: draws so far.
        radius: certified l2 radius.
    """

    index: int
    prediction: int
    n_used: int
    radius: float


@dataclass(frozen=True, slots=True)
class SmoothingSummary:
    """Numbers of one smoothing run.

    Attributes:
        sigma: standard deviation of the noise, pixel units.
        mode: rule that ends the draws.
        precision: numbers that the model was computed in.
        n: images with a certificate or an abstention.
        reference: what counts as right: the labels, or the model's own predictions.
        certified_accuracy: by radius.
        abstained: share of images without a certified class.
        certified_wrong: share certified for another class than the reference.
        smoothed_accuracy: share whose most frequent class under noise is the reference.
        clean_accuracy: share right without noise.
        average_certified_radius: mean l2 radius, 0 where abstained or wrong.
        mean_samples: mean draws per image, those that chose the class included.
        median_samples: median of the same.
        share_at_cap: share of images that used all draws without a decision.
        samples: histogram of the draws.
        radii: the certificates in each norm.
        expected_false: expected number of wrong certificates, at most.
        false_at_most: certificates that are wrong at most, with probability 95 %.
        stop_reasons: images by reason.
        in_progress: images that a time budget cut off, with what is certified so far.
        guarantee: what a certificate states.
        warnings: limitations of the numbers.
        complete: whether every requested image has its row.
    """

    sigma: float
    mode: str
    precision: str
    n: int
    reference: str
    certified_accuracy: tuple[CertifiedAccuracy, ...]
    abstained: float
    certified_wrong: float
    smoothed_accuracy: float
    clean_accuracy: float
    average_certified_radius: float
    mean_samples: float
    median_samples: float
    share_at_cap: float
    samples: tuple[SampleBin, ...]
    radii: tuple[NormRadii, ...]
    expected_false: float
    false_at_most: int
    stop_reasons: dict[str, int]
    in_progress: tuple[Unfinished, ...]
    guarantee: str
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(self))


def summarise(store: ResultStore, key: str) -> SmoothingSummary:
    """Summary of the smoothing table at path ``key``, from the file alone."""
    group = store.at(key)
    settings = settings_of(group)
    columns = SummaryColumns.read(store, group)
    n = len(columns.radius)
    right = _same(columns.prediction, columns.reference)
    radius = np.where(right, columns.radius, 0.0)
    reasons = group.attribute("stop_reasons")
    return SmoothingSummary(
        sigma=settings.sigma,
        mode=str(settings.mode),
        precision=str(settings.precision),
        n=n,
        reference="label" if columns.labelled else "the model's own prediction",
        certified_accuracy=_curve(settings, right, columns.radius),
        abstained=_share(columns.prediction == ABSTAIN),
        certified_wrong=_share((columns.prediction != ABSTAIN) & ~right),
        smoothed_accuracy=_share(_same(columns.most_frequent, columns.reference)),
        clean_accuracy=_share(_same(columns.clean, columns.reference)),
        average_certified_radius=_mean(radius),
        mean_samples=_mean(columns.samples),
        median_samples=float(np.median(columns.samples)) if n else float("nan"),
        share_at_cap=_share(columns.reason == 3),
        samples=_histogram(columns.samples),
        radii=_norms(settings, int(group.attribute("pixels")), _mean(radius)),
        expected_false=n * settings.image_alpha,
        false_at_most=binomial_quantile(n, settings.image_alpha, 1 - LEVEL),
        stop_reasons={
            name: count
            for code, name in reasons.items()
            if (count := int((columns.reason == int(code)).sum()))
        },
        in_progress=tuple(Unfinished(**one) for one in group.attribute("in_progress", [])),
        guarantee=guarantee(settings),
        warnings=(*undefined_warnings(group, columns.indices), *_warnings(settings, columns)),
        complete=group.complete,
    )


def combined(summaries: Sequence[SmoothingSummary]) -> dict[str, Any]:
    """JSON of the runs of one command; of several σ all certified accuracies and `runs`."""
    runs = [one.to_json() for one in summaries]
    if len(runs) == 1:
        return runs[0]
    curves = [
        {"sigma": one["sigma"], **entry} for one in runs for entry in one["certified_accuracy"]
    ]
    warnings = [f"σ = {one.sigma:g}: {line}" for one in summaries for line in one.warnings]
    warnings.append(
        "each σ is a smoothed classifier of its own with an alpha of its own: the largest radius "
        "of an image over several σ is no certificate"
    )
    return {"certified_accuracy": curves, "runs": runs, "warnings": warnings}


def settings_of(group: AnalysisGroup) -> SmoothingSettings:
    """Settings that ``group`` was made with."""
    added = (UNIT_OF_RADII, *OF_MODEL)
    stored = {name: value for name, value in group.settings.items() if name not in added}
    return SmoothingSettings(
        **{
            **stored,
            "radii": tuple(stored["radii"]),
            "mode": Mode(stored["mode"]),
            "precision": Precision(stored.get("precision", Precision.FLOAT32)),
        }
    )


def certified_radii(group: AnalysisGroup, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Certified l2 radii of the images ``indices``, pixel units.

    An exact design certifies radii of its grid alone. Earlier versions stored
    ``sigma * (radius / sigma)``, which may be smaller in the last digits: here these are the radii
    of the grid again.
    """
    radii = np.asarray(group.column("radius", indices), dtype=np.float64)
    if not group.settings.get("exact"):
        return radii
    grid = np.array([0.0, *group.settings["radii"]])
    nearest = grid[np.abs(radii[:, None] - grid).argmin(1)]
    return np.where(np.abs(radii - nearest) <= 4 * np.spacing(nearest), nearest, radii)


def all_draws(group: AnalysisGroup, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Noise draws of the images ``indices``, those that selected the class included."""
    settings = settings_of(group)
    chosen = settings.pilot if settings.mode is Mode.RADIUS else settings.n0
    used: NDArray[np.int64] = group.column("n_used", indices)
    return used + (0 if settings.label_mode else chosen)


@dataclass(frozen=True, slots=True, eq=False)
class SummaryColumns:
    """Columns of the images in a summary, which are at ``indices`` of the data set."""

    indices: NDArray[np.int64]
    prediction: NDArray[np.int64]
    radius: NDArray[np.float64]
    reason: NDArray[np.int64]
    samples: NDArray[np.int64]
    clean: NDArray[np.int64]
    most_frequent: NDArray[np.int64]
    reference: NDArray[np.int64]
    labelled: bool

    @classmethod
    def read(cls, store: ResultStore, group: AnalysisGroup) -> SummaryColumns:
        """Columns of the finished images of the last request."""
        indices = group.indices
        indices = indices[group.computed(indices)]
        labels = store.labels[store.rows(indices)].astype(np.int64)
        labelled = bool((labels >= 0).all())
        clean = group.column("clean_prediction", indices)
        return cls(
            indices=indices,
            prediction=group.column("prediction", indices),
            radius=certified_radii(group, indices),
            reason=group.column("stop_reason", indices),
            samples=all_draws(group, indices),
            clean=clean,
            most_frequent=_most_frequent(group.column("counts", indices)),
            reference=labels if labelled else clean,
            labelled=labelled,
        )


def _curve(
    settings: SmoothingSettings, right: NDArray[np.bool_], radius: NDArray[np.float64]
) -> tuple[CertifiedAccuracy, ...]:
    attainable = attainable_radii(settings)
    entries = []
    for r in settings.radii:
        certified, n = int((right & (radius >= r)).sum()), len(right)
        share = proportion(certified, n, level=LEVEL)
        beyond = population_lower(certified, n, alpha=settings.image_alpha, gamma=1 - LEVEL)
        entries.append(
            CertifiedAccuracy(r, share.value, share.lower, share.upper, beyond, r in attainable)
        )
    return tuple(entries)


def _norms(settings: SmoothingSettings, pixels: int, average: float) -> tuple[NormRadii, ...]:
    largest = largest_certifiable(settings)
    factors = [(norm, norm_factor(norm, pixels)) for norm in Norm]
    return tuple(NormRadii(str(m), f, average * f, largest * f) for m, f in factors)


def largest_certifiable(settings: SmoothingSettings) -> float:
    """Largest l2 radius that n unanimous draws certify."""
    plan = schedule(settings)
    alpha = plan.spending[-1] / (2 if settings.runner_up else 1)
    return largest_radius(plan.last, sigma=settings.sigma, alpha=alpha)


def _histogram(samples: NDArray[np.int64]) -> tuple[SampleBin, ...]:
    """Bins that double in width."""
    bins = []
    low, high = 1, 2 * NOISE_BLOCK
    while len(samples) and low <= samples.max():
        inside = int(((samples >= low) & (samples <= high)).sum())
        bins.append(SampleBin(low, high, inside))
        low, high = high + 1, 2 * high
    return tuple(bins)


def _warnings(settings: SmoothingSettings, columns: SummaryColumns) -> tuple[str, ...]:
    found = []
    unattainable = [r for r in settings.radii if r not in attainable_radii(settings)]
    if unattainable:
        radii = ", ".join(f"{r:g}" for r in unattainable)
        found.append(
            f"no image can be certified at {radii}: with n = {settings.n} and these settings the "
            f"largest radius is {largest_certifiable(settings):.3g}"
        )
    if settings.sigma > 1 or settings.sigma < 0.01:
        found.append(
            f"σ = {settings.sigma:g} is in pixel units of [0, 1]; if it was meant for 0 to 255, "
            f"divide by 255, if for normalised inputs, multiply by their standard deviation"
        )
    given = columns.prediction[columns.prediction != ABSTAIN]
    others = len(np.unique(columns.reference))
    if len(given) >= 10 and len(np.unique(given)) == 1 and others > 1:
        found.append(
            f"the smoothed classifier gives class {given[0]} for every image that it does not "
            "abstain on: large radii of a constant prediction mean nothing"
        )
    moved = (columns.most_frequent != columns.clean) & (columns.most_frequent != NO_CLASS)
    changed = _share(moved)
    if changed > CHANGED_SHARE:
        found.append(
            f"noise of σ = {settings.sigma:g} alone moves {changed:.0%} of the images to another "
            "class: the model was probably never trained with such noise (robcert train gaussian)"
        )
    return tuple(found)


def _most_frequent(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of most draws; NO_CLASS where none voted."""
    return np.where(counts.max(1, initial=0) > 0, counts.argmax(1), NO_CLASS)


def _same(classes: NDArray[np.int64], reference: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where both are the same class; an abstention and an image without a class are none."""
    return (classes == reference) & (classes >= 0)


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if len(mask) else float("nan")


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
