"""Summary of a bounds table, from the file alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import Status
from robcert.certify.store import crossings, plain, radii_of

from .attacked import Attacked, Offender, attacked_distances, attacked_error, offenders
from .evidence import known_evidence, lowered_radii, searches, with_refutations
from .fits import (
    FitSummaries,
    FitSummary,
    OmegaSummary,
    RhoSummary,
    fit_warnings,
    sampling_failure_warnings,
    straight_through_warnings,
)
from .settings import Region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

CLEVER = ("clever_score", "clever_bound")
"""Columns of radii from an L of each image."""

RADII = (
    *("rho_bound", "l_bound", "omega_bound", "gamma_bound", "rho_own_bound", "curvature_bound"),
    *CLEVER,
)
"""Columns of radii; those from rho, L, omega and curvature use upper confidence limits."""

POINTS = ("rho_bound_point", "l_bound_point", "omega_bound_point")
"""Columns of radii that use point estimates."""


@dataclass(frozen=True, slots=True)
class RadiusSummary:
    """One kind of radius over the images that have one.

    Attributes:
        mean: mean over them, misclassified ones at 0.
        median: median over them, misclassified ones at 0.
        mean_correct: mean over those that are classified as y.
        share_positive: share of them with a radius above 0.
        n: their number.
        capped: number of images without one because the value is the radius of CLEVER's ball.
        absent: number of images for which nothing could be estimated.
        refuted: number of images whose stored radius exceeds the distance of an adversarial image.
    """

    mean: float
    median: float
    mean_correct: float
    share_positive: float
    n: int
    capped: int
    absent: int
    refuted: int


@dataclass(frozen=True, slots=True)
class ErrorAt:
    """Share of images whose radius is below ``epsilon``, misclassified ones included.

    ``attacked`` is the share of the images attacked in this norm that have an adversarial example
    within ``epsilon``. A bound that the table lacks has None; an image without a radius of its kind
    counts as one below.
    """

    epsilon: float
    rho_bound: float | None
    l_bound: float | None
    omega_bound: float | None
    gamma_bound: float | None
    rho_own_bound: float | None
    curvature_bound: float | None
    clever_score: float | None
    clever_bound: float | None
    attacked: float | None


@dataclass(frozen=True, slots=True)
class GradientNorm:
    """Mean and largest dual norm of the sampled gradients."""

    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class BoundsSummary:
    """Results of the bounds.

    Attributes:
        norm: norm of the radii.
        epsilon: the user's radius.
        margin: logit or prob.
        region: data or ball.
        statement: sentence that says what the radii claim and what they do not.
        lipschitz: fit of L; None before the sample is finished.
        omega: fits of omega, by radius.
        rho: fits of rho, by radius; empty for tables of earlier versions.
        curvature: fit of the Hessian's largest eigenvalue; None outside l2.
        top_k: an image counts as correct if y is among this many top classes.
        radius: summaries of the radii, by column.
        attacked: distances of attacks of the same norm in the file.
        offenders: images whose radius exceeds such a distance, largest ratio first.
        error_at: shares of images with a smaller radius, by radius.
        residual: mean over the sampled images of the largest residual found, by radius of omega.
        gradient_norm: of the sampled images; None before the sample is finished.
        vanishing_share: share of sampled images whose gradient is practically zero.
        censored: share of images whose radius is limited by the largest epsilon of the grid, by
            column; the true radius may be larger.
        n: number of images with radii.
        n_correct: number of those classified as y.
        sampled: images that L and omega were fitted on.
        gradient_passes: gradients computed for the sample.
        warnings: limitations of the result.
        complete: whether every requested image has its row.
    """

    norm: str
    epsilon: float
    margin: str
    region: str
    statement: str
    lipschitz: FitSummary | None
    omega: tuple[OmegaSummary, ...]
    rho: tuple[RhoSummary, ...]
    curvature: FitSummary | None
    top_k: int
    radius: dict[str, RadiusSummary]
    attacked: Attacked
    offenders: tuple[Offender, ...]
    error_at: tuple[ErrorAt, ...]
    residual: tuple[float, ...]
    gradient_norm: GradientNorm | None
    vanishing_share: float
    censored: dict[str, float]
    n: int
    n_correct: int
    sampled: int
    gradient_passes: int
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        omega = [entry.to_json() for entry in self.omega]
        rho = [entry.to_json() for entry in self.rho]
        slopes = asdict(self.gradient_norm) if self.gradient_norm else {}
        return dict(plain({**asdict(self), "omega": omega, "rho": rho, "gradient_norm": slopes}))


def summarise(store: ResultStore, key: str) -> BoundsSummary:
    """Summary of the bounds table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    columns = {name: group.column(name, indices) for name in group.columns}
    settings = group.settings
    fits, epsilons = FitSummaries.of(group), group.attribute("epsilons", [])
    lipschitz = fits.lipschitz
    slopes = group.attribute("sampled_gradients", {})
    correct = columns["loss"] < 0
    unlimited = _unlimited(fits)
    searched = _clever_searched(settings, lipschitz)
    names = [n for n in (*RADII, *POINTS) if _said(columns, n) or n in searched]
    names = [n for n in names if n not in unlimited]
    stored = {name: radii_of(group, name, indices) for name in names}
    evidence = known_evidence(store, settings, indices)
    radii = {**stored, **lowered_radii(evidence, columns, epsilons)}
    radii = {name: radii[name] for name in names}
    everywhere = known_evidence(store, settings)
    fits = with_refutations(fits, store.indices, everywhere, searches(store, settings))
    top_k = settings.get("top_k", 1)
    distance = attacked_distances(store, settings["norm"], indices)
    if top_k > 1:  # attacks search for another top-1 class
        distance = np.full(len(indices), np.nan)
    return BoundsSummary(
        norm=settings["norm"],
        epsilon=settings["epsilon"],
        margin=settings["margin"],
        region=settings["region"],
        statement=_statement(settings),
        lipschitz=fits.lipschitz,
        omega=fits.omega,
        rho=fits.rho,
        curvature=fits.curvature,
        top_k=top_k,
        radius={
            name: _radius(values, correct, columns[name], distance)
            for name, values in radii.items()
        },
        attacked=Attacked.of(distance),
        offenders=offenders(
            {name: stored[name] for name in RADII if name in stored}, distance, indices
        ),
        error_at=_errors(radii, ~correct, distance, _error_radii(group, epsilons)),
        residual=tuple(group.attribute("sampled_residuals", [])),
        gradient_norm=GradientNorm(**slopes) if slopes else None,
        vanishing_share=float(group.attribute("vanishing_share", float("nan"))),
        censored=_censored(radii, settings["region"], epsilons),
        n=len(indices),
        n_correct=int(correct.sum()),
        sampled=lipschitz.blocks * lipschitz.block_size if lipschitz else 0,
        gradient_passes=int(group.attribute("gradient_passes", 0)),
        warnings=(
            *fit_warnings(fits),
            *straight_through_warnings(store.model.get("straight_through") or ()),
            *sampling_failure_warnings(group.attribute("sampling_failed", {})),
        ),
        complete=group.complete,
    )


def _statement(settings: dict[str, Any]) -> str:
    where = (
        "in a ball around sampled images; radii are capped at its radius"
        if settings["region"] == Region.BALL
        else "at sampled images only, not between them and an adversarial image"
    )
    return f"Statistical estimates, not certificates. L was estimated from gradients {where}."


def _radius(
    values: NDArray[np.float64],
    correct: NDArray[np.bool_],
    stored: NDArray[np.float64],
    distance: NDArray[np.float64],
) -> RadiusSummary:
    """Statistics of radii ``values (n,)``, as corrected by evidence.

    Args:
        values: the radii.
        correct: whether each image is classified as y.
        stored: the column in the file, also with values at the radius of a ball.
        distance: distances of adversarial images, NaN where not attacked.
    """
    known = ~np.isnan(values)
    refuted = int((known & crossings(stored, distance)).sum())
    absent = int((np.isnan(stored) & ~known).sum())
    capped = int((~known).sum()) - absent
    some, right, nothing = values[known], values[known & correct], float("nan")
    if not len(some):
        return RadiusSummary(nothing, nothing, nothing, nothing, 0, capped, absent, refuted)
    return RadiusSummary(
        mean=float(some.mean()),
        median=float(np.median(some)),
        mean_correct=float(right.mean()) if len(right) else nothing,
        share_positive=_share(some > 0),
        n=len(some),
        capped=capped,
        absent=absent,
        refuted=refuted,
    )


def _censored(
    radii: dict[str, NDArray[np.float64]], region: str, epsilons: list[float]
) -> dict[str, float]:
    """Share of radii of each kind that are limited by the largest of ``epsilons``, if any."""
    if not epsilons:  # the sample is not finished
        return {}
    ended = ["omega_bound", "rho_bound", "gamma_bound", "rho_own_bound"]
    if region == Region.BALL:
        ended.append("l_bound")
    shares = {name: _share(radii[name] >= epsilons[-1]) for name in ended if name in radii}
    return {name: share for name, share in shares.items() if share > 0}


def _unlimited(found: FitSummaries) -> set[str]:
    """Radii that would rest on a largest value seen, as tables of earlier versions have them."""
    fits = {name: some for name, some in found.by_radius.items() if some}
    limited = {name for name, some in fits.items() if any(fit.limited for fit in some)}
    estimated = {name for name, some in fits.items() if any(fit.estimated for fit in some)}
    return (set(fits) - limited) | {f"{name}_point" for name in set(fits) - estimated}


def _said(columns: dict[str, NDArray[Any]], name: str) -> bool:
    """Whether the table has the radii ``name``; files of earlier versions lack some."""
    return name in columns and (not len(columns[name]) or not np.isnan(columns[name]).all())


def _clever_searched(settings: Mapping[str, Any], lipschitz: FitSummary | None) -> tuple[str, ...]:
    """The columns of CLEVER, if it was computed; it may have found nothing for any image."""
    vanishing = lipschitz is not None and lipschitz.status == Status.INVALID
    return CLEVER if settings.get("clever_blocks") and not vanishing else ()


def _error_radii(group: AnalysisGroup, grid: Sequence[float]) -> list[float]:
    """Radii of the grid, that in its middle, and those that were requested, ascending."""
    found = {*grid, group.settings["epsilon"]}
    asked = group.attribute("errors_at", [])
    found |= {one for one in asked if not np.isclose(one, list(found), rtol=1e-6, atol=0).any()}
    return sorted(found)


def _errors(
    radii: dict[str, NDArray[np.float64]],
    wrong: NDArray[np.bool_],
    distance: NDArray[np.float64],
    epsilons: list[float],
) -> tuple[ErrorAt, ...]:
    def error(name: str, epsilon: float) -> float | None:
        if name not in radii:
            return None
        return _share(wrong | ~(radii[name] >= epsilon * (1 - 1e-9)))

    return tuple(
        ErrorAt(
            epsilon=epsilon,
            attacked=attacked_error(distance, epsilon),
            **{name: error(name, epsilon) for name in RADII},
        )
        for epsilon in epsilons
    )


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if len(mask) else float("nan")
