"""What a bounds table says, read from the file alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..extremes import Status
from ..results_json import plain
from .bounds_settings import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..store import ResultStore

RADII = ("l_bound", "omega_bound", "l_bound_point", "omega_bound_point")
"""Columns of radii; `_point` ones rest on point estimates, the others on upper limits."""


@dataclass(frozen=True, slots=True)
class FitSummary:
    """An extreme-value fit (see `extremes.ExtremeValueFit`), with the Wilks statement in words."""

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

    @classmethod
    def of(cls, stored: dict[str, Any], quantity: str) -> FitSummary:
        """From the attribute that the analysis stored."""
        share = stored["wilks"]
        sentence = (
            f"With {stored['level']:.0%} confidence at most {share:.2g} of inputs like the "
            f"{stored['blocks'] * stored['block_size']} sampled ones have {quantity} above the "
            f"largest seen, {stored['max']:.4g}."
        )
        return cls(**{**stored, "wilks": sentence, "wilks_share": share})


@dataclass(frozen=True, slots=True)
class OmegaSummary:
    """The fit of omega at one radius.

    Attributes:
        epsilon: the radius, pixel units.
        fit: the fit.
        random: largest residual at one random point an image, to show what ascent adds.
    """

    epsilon: float
    fit: FitSummary
    random: float

    def to_json(self) -> dict[str, Any]:
        """The fit's keys beside `epsilon` and `random`."""
        return {"epsilon": self.epsilon, **asdict(self.fit), "random": self.random}


@dataclass(frozen=True, slots=True)
class RadiusSummary:
    """One kind of radius over the images.

    Attributes:
        mean: over all images, misclassified ones at 0.
        median: the same.
        mean_correct: over the images that are classified as y.
        share_positive: share of images with a radius above 0.
    """

    mean: float
    median: float
    mean_correct: float
    share_positive: float


@dataclass(frozen=True, slots=True)
class ErrorAt:
    """Share of images whose radius is below ``epsilon``; misclassified ones count."""

    epsilon: float
    l_bound: float
    omega_bound: float


@dataclass(frozen=True, slots=True)
class BoundsSummary:
    """What the bounds say.

    Attributes:
        norm: norm of the radii.
        epsilon: the user's radius.
        margin: logit or prob.
        region: data or ball.
        statement: what kind of claim the radii are.
        lipschitz: fit of L; None before the sample is finished, as all that follows.
        omega: fits of omega, by radius.
        radius: by column.
        error_at: by radius.
        gradient_norm: mean and largest dual norm of the sampled gradients.
        vanishing_share: share of sampled images whose gradient is as good as zero.
        censored: share of images whose omega_bound ends at the grid's end.
        n: images with radii.
        n_correct: those classified as y.
        sampled: images that L and omega were fitted on.
        gradient_passes: gradients that sampling cost.
        warnings: what the reader must know.
        complete: whether every image asked for has its row.
    """

    norm: str
    epsilon: float
    margin: str
    region: str
    statement: str
    lipschitz: FitSummary | None
    omega: tuple[OmegaSummary, ...]
    radius: dict[str, RadiusSummary]
    error_at: tuple[ErrorAt, ...]
    gradient_norm: dict[str, float]
    vanishing_share: float
    censored: float
    n: int
    n_correct: int
    sampled: int
    gradient_passes: int
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        omega = [entry.to_json() for entry in self.omega]
        return dict(plain({**asdict(self), "omega": omega}))


def summarise(store: ResultStore, key: str) -> BoundsSummary:
    """Summary of the bounds table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    columns = {name: group.column(name, indices) for name in group.columns}
    settings = group.settings
    fits = group.attribute("fits", [])
    epsilons = group.attribute("epsilons", [])
    omega = _omega(fits[1:], epsilons, group.attribute("omega_random", []))
    lipschitz = FitSummary.of(fits[0], "a gradient norm") if fits else None
    correct = columns["loss"] < 0
    return BoundsSummary(
        norm=settings["norm"],
        epsilon=settings["epsilon"],
        margin=settings["margin"],
        region=settings["region"],
        statement=_statement(settings),
        lipschitz=lipschitz,
        omega=omega,
        radius={name: _radius(columns[name], correct) for name in RADII},
        error_at=_errors(columns, sorted({*epsilons, settings["epsilon"]})),
        gradient_norm=group.attribute("sampled_gradients", {}),
        vanishing_share=float(group.attribute("vanishing_share", float("nan"))),
        censored=_share(columns["censored"] == 1),
        n=len(indices),
        n_correct=int(correct.sum()),
        sampled=lipschitz.blocks * lipschitz.block_size if lipschitz else 0,
        gradient_passes=int(group.attribute("gradient_passes", 0)),
        warnings=_warnings(lipschitz, omega),
        complete=group.complete,
    )


def _omega(
    fits: list[dict[str, Any]], epsilons: list[float], random: list[float]
) -> tuple[OmegaSummary, ...]:
    return tuple(
        OmegaSummary(epsilon, FitSummary.of(fit, "a residual"), drawn)
        for fit, epsilon, drawn in zip(fits, epsilons, random, strict=True)
    )


def _statement(settings: dict[str, Any]) -> str:
    where = (
        "in a ball around sampled images; radii are capped at its radius"
        if settings["region"] == Region.BALL
        else "at sampled images only, not between them and an adversarial image"
    )
    return f"Statistical estimates, not certificates. L was looked for {where}."


def _radius(values: NDArray[np.float64], correct: NDArray[np.bool_]) -> RadiusSummary:
    if not len(values):
        nothing = float("nan")
        return RadiusSummary(nothing, nothing, nothing, nothing)
    right = values[correct]
    mean_correct = float(right.mean()) if len(right) else float("nan")
    return RadiusSummary(
        float(values.mean()), float(np.median(values)), mean_correct, _share(values > 0)
    )


def _errors(columns: dict[str, NDArray[Any]], epsilons: list[float]) -> tuple[ErrorAt, ...]:
    wrong = columns["loss"] >= 0
    shares = {
        name: [_share(wrong | (columns[name] < epsilon * (1 - 1e-9))) for epsilon in epsilons]
        for name in ("l_bound", "omega_bound")
    }
    return tuple(map(ErrorAt, epsilons, shares["l_bound"], shares["omega_bound"]))


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if len(mask) else float("nan")


def _warnings(lipschitz: FitSummary | None, omega: tuple[OmegaSummary, ...]) -> tuple[str, ...]:
    if lipschitz is None:
        return ("the sample of L and omega is not finished: run the same command again",)
    found = []
    if lipschitz.status == Status.INVALID:
        found.append("the gradient vanishes at every sampled image: no radius is claimed")
    if lipschitz.status == Status.INSUFFICIENT:
        found.append(
            f"{lipschitz.blocks} blocks of {lipschitz.block_size} images are too few for a fit: "
            "the largest values seen stand for L and omega, which is too optimistic"
        )
    entries = [("L", lipschitz), *((f"omega({e.epsilon:.4g})", e.fit) for e in omega)]
    flags = dict.fromkeys(flag for _, fit in entries for flag in fit.flags)
    for flag in flags:
        names = [name for name, fit in entries if flag in fit.flags]
        where = "every fit" if len(names) == len(entries) else ", ".join(names)
        found.append(f"{flag} ({where})")
    return tuple(found)
