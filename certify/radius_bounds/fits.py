"""What the extreme-value fits of a bounds table say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.stats import Status
from robcert.certify.tables import pixel

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def omega_summaries(
    fits: list[dict[str, Any]], epsilons: list[float], random: list[float]
) -> tuple[OmegaSummary, ...]:
    """The fits of omega, by radius, from what the analysis stored."""
    return tuple(
        OmegaSummary(epsilon, FitSummary.of(fit, "a residual"), drawn)
        for fit, epsilon, drawn in zip(fits, epsilons, random, strict=True)
    )


def fit_warnings(
    lipschitz: FitSummary | None,
    omega: tuple[OmegaSummary, ...],
    curvature: FitSummary | None,
) -> tuple[str, ...]:
    """What the fits say that the reader must know."""
    if lipschitz is None:
        return ("the sample of L and omega is not finished: run the same command again",)
    found = []
    if lipschitz.status == Status.INVALID:
        found.append("the gradient vanishes at every sampled image: no radius is claimed")
    if lipschitz.status == Status.INSUFFICIENT:
        blocks = "1 block" if lipschitz.blocks == 1 else f"{lipschitz.blocks} blocks"
        found.append(
            f"too few for a fit, {blocks} of {lipschitz.block_size} images: "
            "the largest values seen stand for L and omega, which is too optimistic"
        )
    entries = [("L", lipschitz), *((f"ω({pixel(e.epsilon)})", e.fit) for e in omega)]
    if curvature is not None:
        entries.append(("curvature", curvature))
        if curvature.status == Status.INVALID and lipschitz.status != Status.INVALID:
            found.append("no radius is claimed from the curvature")
    flags = dict.fromkeys(flag for _, fit in entries for flag in fit.flags)
    for flag in flags:
        names = [name for name, fit in entries if flag in fit.flags]
        where = "every fit" if len(names) == len(entries) else ", ".join(names)
        found.append(f"{flag} ({where})")
    return tuple(found)


def through_jumps(nodes: Sequence[str]) -> tuple[str, ...]:
    """What to say of a model with straight-through gradients at ``nodes``."""
    if not nodes:
        return ()
    return (
        "gradients of quantised nodes are straight-through ones: the model itself jumps, and what "
        "follows from L or omega does not hold across a jump",
    )


def left_out(failed: dict[str, str]) -> tuple[str, ...]:
    """How many images the sample lacks because the model failed on them, by their reasons."""
    if not failed:
        return ()
    first, reason = next(iter(failed.items()))
    return (
        f"the model failed on {len(failed)} sampled images, which L and omega know nothing of; "
        f"the first is image {first}: {reason}",
    )
