"""The extreme-value fits of L, omega and the curvature: made from the sample, and summarised."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from robcert.certify.core import Kind
from robcert.certify.errors import DataError
from robcert.certify.stats import (
    ExtremeValueFit,
    Method,
    Status,
    SupremumEstimator,
    blocks_advice,
    fit_extremes,
)
from robcert.certify.tables import pixel

from .curvature import MOST_KINKED, kinked_share
from .radii import vanishing_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup

    from .settings import BoundsSettings


@dataclass(frozen=True, slots=True)
class Fits:
    """Fits of the suprema: L, omega and rho at each epsilon, curvature (None without it)."""

    lipschitz: ExtremeValueFit
    omegas: tuple[ExtremeValueFit, ...]
    rhos: tuple[ExtremeValueFit, ...]
    curvature: ExtremeValueFit | None

    def suprema(self, *, upper: bool) -> Suprema:
        """L, all omegas and all rhos: upper confidence limits, or point estimates."""

        def of(fit: ExtremeValueFit) -> float:
            return fit.upper if upper else fit.point

        omegas, rhos = ([of(fit) for fit in fits] for fits in (self.omegas, self.rhos))
        return Suprema(of(self.lipschitz), np.array(omegas), np.array(rhos))


@dataclass(frozen=True, slots=True, eq=False)
class Suprema:
    """Numbers that radii follow from; NaN where there is no estimate.

    Attributes:
        lipschitz: largest gradient norm.
        omegas: largest residual within each epsilon ``(m,)``.
        rhos: largest excess within each epsilon ``(m,)``.
    """

    lipschitz: float
    omegas: NDArray[np.float64]
    rhos: NDArray[np.float64]


def fit_sample(
    group: AnalysisGroup,
    sample: AnalysisGroup,
    settings: BoundsSettings,
    blocks: NDArray[np.int64],
) -> Fits:
    """Fits of L, omega, rho and the curvature, stored in ``group`` with their block maxima.

    Args:
        group: table of the radii.
        sample: the sampled rows, complete.
        settings: of the fits.
        blocks: the sampled images ``(blocks, size)``.

    Raises:
        DataError: the model failed on so many images that no block is left.
    """
    rows, size = sample.indices, blocks.shape[1]
    vanishing = vanishing_share(sample.column("gradient_norm", rows))
    resolution = float(np.median(sample.column("floor", rows)))
    estimator = SupremumEstimator(Method(settings.evt), settings.exceedance, settings.level)
    fits: dict[str, ExtremeValueFit] = {}
    sampled = _sampled_values(sample, settings)
    all_maxima = {name: _blocks(values, size).max(1) for name, values in sampled.items()}
    _store_maxima(group, all_maxima)
    for name, maxima in all_maxima.items():
        fit = fit_extremes(
            maxima,
            estimator,
            block_size=size,
            seed=group.seed,
            resolution=resolution if name.startswith(("omega", "rho")) else 0.0,
        )
        fits[name] = _with_vanishing_flag(fit, vanishing)
    curvature = (
        _with_curvature_flag(fits["curvature"], sample, settings) if settings.curved else None
    )
    omegas, rhos = (
        tuple(fit for name, fit in fits.items() if name.startswith(f"{kind}/"))
        for kind in ("omega", "rho")
    )
    group.set_attributes(
        fits=[asdict(fit) for fit in (fits["lipschitz"], *omegas)],
        rho_fits=[asdict(fit) for fit in rhos],
        curvature_fit=asdict(curvature) if curvature else None,
        vanishing_share=vanishing,
        **_sample_attributes(sample, settings, blocks),
    )
    return Fits(fits["lipschitz"], omegas, rhos, curvature)


def _store_maxima(group: AnalysisGroup, maxima: dict[str, NDArray[np.float64]]) -> None:
    """Store the block maxima of each quantity, unless the file has them."""
    doc = "largest value of each block of sampled images"
    new = {f"{name}/block_maxima": values for name, values in maxima.items()}
    new = {path: values for path, values in new.items() if path not in group}
    if new:
        arrays = {path: (values, Kind.ESTIMATED, doc, "") for path, values in new.items()}
        group.save_arrays(arrays)


def _sampled_values(
    sample: AnalysisGroup, settings: BoundsSettings
) -> dict[str, NDArray[np.float64]]:
    """Sampled values ``(n,)`` of each quantity that is fitted, by its name in the file."""
    rows = sample.indices
    values = {"lipschitz": sample.column("largest_gradient_norm", rows)}
    for kind, name in (("omega", "residual"), ("rho", "excess")):
        values |= {
            f"{kind}/{epsilon:.6g}": column
            for epsilon, column in zip(settings.epsilons, sample.column(name, rows).T, strict=True)
        }
    if settings.curved:
        values["curvature"] = sample.column("curvature", rows)
    return values


def _sample_attributes(
    sample: AnalysisGroup, settings: BoundsSettings, blocks: NDArray[np.int64]
) -> dict[str, object]:
    """Attributes of the table of the radii that describe the sample."""
    rows = sample.indices
    slopes = sample.column("gradient_norm", rows)
    return {
        "epsilons": list(settings.epsilons),
        "sampled_gradients": {"mean": float(slopes.mean()), "max": float(slopes.max())},
        "sampled_residuals": sample.column("residual", rows).mean(0).tolist(),
        "omega_random": sample.column("residual_random", rows).max(0).tolist(),
        "sampling_failed": sample.attribute("failed", {}),
        "gradient_passes": settings.gradient_passes(blocks.size, 0),
    }


def _blocks(column: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sampled values in blocks ``(n, size)``; rows of failed images are skipped."""
    if len(column) < size:
        message = f"the model failed on all but {len(column)} of the sampled images"
        raise DataError(message)
    return column[: len(column) // size * size].reshape(-1, size)


def _with_vanishing_flag(fit: ExtremeValueFit, vanishing: float) -> ExtremeValueFit:
    """``fit`` with a flag if gradients vanish; invalid if all of them do."""
    if vanishing == 1:
        flags = (*fit.flags, "the gradient vanishes at every sampled image")
        return replace(fit, status=Status.INVALID, flags=flags)
    if vanishing > 0.01:
        return replace(fit, flags=(*fit.flags, "possible gradient masking"))
    return fit


def _with_curvature_flag(
    fit: ExtremeValueFit, sample: AnalysisGroup, settings: BoundsSettings
) -> ExtremeValueFit:
    """The fit of the curvature: flagged if residuals exceed it, invalid if kinks dominate."""
    rows = sample.indices
    residual, floor = sample.column("residual", rows), sample.column("floor", rows)
    share = kinked_share(
        sample.column("curvature", rows), residual[:, 0], floor, epsilon=settings.epsilons[0]
    )
    if share > MOST_KINKED:
        flag = f"the loss has kinks, which curvature misses, at {share:.0%} of the sampled images"
        return replace(fit, status=Status.INVALID, flags=(*fit.flags, flag))
    largest = fit.upper if fit.status.limits else fit.max
    limit = 0.5 * largest * np.square(settings.epsilons)
    exceeds = (residual - floor[:, None] > limit).any(0)
    if exceeds.any():
        first = settings.epsilons[int(exceeds.argmax())]
        flag = f"a residual found within {first:.4g} exceeds ½ C ε²"
        return replace(fit, flags=(*fit.flags, flag))
    return fit


@dataclass(frozen=True, slots=True)
class FitSummary:
    """An extreme-value fit (see `stats.ExtremeValueFit`), with Wilks' statement in words.

    ``refuted`` is the number of images at which an adversarial image or a sampled row in the file
    exceeds the upper limit, ``refuted_point`` that of images at which one exceeds the point
    estimate.
    """

    point: float
    upper: float
    max: float
    shape: float
    shape_lower: float
    shape_upper: float
    scale: float
    location: float
    endpoint: float
    blocks: int
    block_size: int
    exceedance: float
    level: float
    status: str
    method: str
    found_by: str
    gof_p: float
    ties: float
    half_points: tuple[float, float]
    wilks_share: float
    wilks: str
    flags: tuple[str, ...]
    refuted: int = 0
    refuted_point: int = 0

    @classmethod
    def of(cls, stored: dict[str, Any], quantity: str) -> FitSummary:
        """The summary of a fit as the analysis stored it in an attribute."""
        share, status = stored["wilks"], Status(stored["status"])
        sentence = (
            f"With {stored['level']:.0%} confidence at most {share:.2g} of inputs like the "
            f"{stored['blocks'] * stored['block_size']} sampled ones have {quantity} above the "
            f"largest seen, {stored['max']:.4g}."
        )
        known = {**stored, "wilks": sentence, "wilks_share": share}
        nothing = float("nan")  # also for files that have the largest value in its place
        known |= {} if status.estimates else {"point": nothing}
        known |= {} if status.limits else {"upper": nothing}
        return cls(**known)

    @property
    def estimated(self) -> bool:
        """Whether there is a point estimate; else only a largest value seen."""
        return Status(self.status).estimates

    @property
    def limited(self) -> bool:
        """Whether there is an upper limit; without one there is no radius from it."""
        return Status(self.status).limits


@dataclass(frozen=True, slots=True)
class OmegaSummary:
    """The fit of omega at one radius.

    Attributes:
        epsilon: the radius, pixel units.
        fit: the fit.
        random: largest residual at one random point per image, to show what ascent adds.
    """

    epsilon: float
    fit: FitSummary
    random: float

    def to_json(self) -> dict[str, Any]:
        """The keys of the fit, and `epsilon` and `random`."""
        return {"epsilon": self.epsilon, **asdict(self.fit), "random": self.random}


@dataclass(frozen=True, slots=True)
class RhoSummary:
    """The fit of rho, the largest excess over the steepest tangent, within one radius.

    Attributes:
        epsilon: the radius, pixel units.
        fit: the fit.
    """

    epsilon: float
    fit: FitSummary

    def to_json(self) -> dict[str, Any]:
        """The keys of the fit, and `epsilon`."""
        return {"epsilon": self.epsilon, **asdict(self.fit)}


@dataclass(frozen=True, slots=True)
class FitSummaries:
    """The fits of a bounds table; without fits before the sample is finished."""

    lipschitz: FitSummary | None
    omega: tuple[OmegaSummary, ...]
    rho: tuple[RhoSummary, ...]
    curvature: FitSummary | None

    @classmethod
    def of(cls, group: AnalysisGroup) -> Self:
        """The fits that the attributes of ``group`` hold; earlier versions have none of rho."""
        fits, curved = group.attribute("fits", []), group.attribute("curvature_fit")
        epsilons, rhos = group.attribute("epsilons", []), group.attribute("rho_fits", [])
        return cls(
            lipschitz=FitSummary.of(fits[0], "a gradient norm") if fits else None,
            omega=omega_summaries(fits[1:], epsilons, group.attribute("omega_random", [])),
            rho=tuple(
                RhoSummary(epsilon, FitSummary.of(fit, "an excess"))
                for epsilon, fit in zip(epsilons, rhos, strict=False)
            ),
            curvature=FitSummary.of(curved, "a curvature") if curved else None,
        )

    @property
    def by_radius(self) -> dict[str, list[FitSummary]]:
        """The fits that each kind of radius rests on, by its column."""
        return {
            "l_bound": [self.lipschitz] if self.lipschitz else [],
            "omega_bound": [one.fit for one in self.omega],
            "rho_bound": [one.fit for one in self.rho],
            "curvature_bound": [self.curvature] if self.curvature else [],
        }

    def named(self) -> list[tuple[str, FitSummary]]:
        """Every fit with its name."""
        first = [("L", self.lipschitz)] if self.lipschitz else []
        last = [("curvature", self.curvature)] if self.curvature else []
        omegas = [(f"ω({pixel(one.epsilon)})", one.fit) for one in self.omega]
        return [*first, *omegas, *((f"ρ({pixel(r.epsilon)})", r.fit) for r in self.rho), *last]


def omega_summaries(
    fits: list[dict[str, Any]], epsilons: list[float], random: list[float]
) -> tuple[OmegaSummary, ...]:
    """The fits of omega, by radius, from what the analysis stored."""
    return tuple(
        OmegaSummary(epsilon, FitSummary.of(fit, "a residual"), drawn)
        for fit, epsilon, drawn in zip(fits, epsilons, random, strict=True)
    )


def fit_warnings(fits: FitSummaries) -> tuple[str, ...]:
    """Warnings about the fits."""
    lipschitz, curvature = fits.lipschitz, fits.curvature
    if lipschitz is None:
        return ("the sample of L and omega is incomplete: run the same command again",)
    found = []
    if lipschitz.status == Status.INVALID:
        found.append("the gradient vanishes at every sampled image: no radius is reported")
    if lipschitz.status == Status.INSUFFICIENT:
        blocks = "1 block" if lipschitz.blocks == 1 else f"{lipschitz.blocks} blocks"
        found.append(
            f"too few blocks for a fit ({blocks} of {lipschitz.block_size} images): only the "
            "largest values seen are known, which limit nothing, so there is no radius from "
            f"L, omega or rho; {blocks_advice(lipschitz.blocks, lipschitz.block_size)}"
        )
    unfitted = [name for name, fit in fits.named() if fit.status in (Status.ATOM, Status.FAILED)]
    if unfitted:
        found.append(
            f"no distribution fits the block maxima of {', '.join(unfitted)}: only the largest "
            "values seen are known, and no radius rests on them"
        )
    if lipschitz.status == Status.MAX:
        found.append(
            "the largest values seen have no upper limit: radii from them are point estimates"
        )
    entries = fits.named()
    refused = curvature is not None and curvature.status == Status.INVALID
    if refused and lipschitz.status != Status.INVALID:
        found.append("the curvature bound is not reported")
    flags = dict.fromkeys(flag for _, fit in entries for flag in fit.flags)
    for flag in flags:
        names = [name for name, fit in entries if flag in fit.flags]
        where = "every fit" if len(names) == len(entries) else ", ".join(names)
        found.append(f"{flag} ({where})")
    return tuple(found)


def straight_through_warnings(nodes: Sequence[str]) -> tuple[str, ...]:
    """Warning for a model with straight-through gradients at ``nodes``."""
    if not nodes:
        return ()
    return (
        "gradients of quantised nodes are straight-through: the model itself is discontinuous, and "
        "radii from L or omega do not hold across its jumps",
    )


def sampling_failure_warnings(failed: dict[str, str]) -> tuple[str, ...]:
    """Warning with the number of sampled images on which the model failed."""
    if not failed:
        return ()
    first, reason = next(iter(failed.items()))
    return (
        f"the model failed on {len(failed)} sampled images, which L and omega do not cover; the "
        f"first is image {first}: {reason}",
    )
