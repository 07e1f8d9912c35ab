"""Summary of the table of `robcert linearity`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.numerics import Loss
from robcert.certify.stats import SummaryStatistics, summary_statistics
from robcert.certify.store import evidence_about, other_searches, plain, sided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore


@dataclass(frozen=True, slots=True)
class ImpliedBound:
    r"""Change of the loss implied by gamma alone (Qin et al. 2019, Proposition C.2).

    An approximation, not a bound: it omits the error of the Gauss-Newton model in the proposition,
    which is unbounded in general.

    Attributes:
        change: :math:`\sqrt{2 \gamma / p_y} + \gamma`, the largest change of the loss within the
            ball according to the approximation.
        held_at_delta: share of images whose linear term at the perturbation of gamma is at most
            the square root.
        held_in_ball: share of images where the largest linear term in the ball, epsilon times the
            gradient's dual norm, is at most the square root.
    """

    change: SummaryStatistics
    held_at_delta: float
    held_in_ball: float


@dataclass(frozen=True, slots=True)
class Refuted:
    """Estimates that adversarial images of the same file, or another search in it, refute.

    Attributes:
        compared: images with an adversarial image within epsilon.
        gamma: those of them where the deviation at the adversarial image exceeds the gamma found by
            more than rounding.
        proposition_4_1: those where the change of the loss exceeds linear term plus gamma.
        bound: images where the change exceeds even the largest linear term in the ball plus gamma,
            at an adversarial image or where another search of the file ended.
    """

    compared: int
    gamma: int
    proposition_4_1: int
    bound: int


@dataclass(frozen=True, slots=True)
class LinearitySummary:
    """Results of the search for gamma.

    Attributes:
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        loss: which loss was linearised.
        sided: which deviations counted.
        box: whether perturbed images stayed in [0, 1].
        gamma: largest deviation found, by the search or at an adversarial image in the file; a
            lower estimate.
        refuted: how many of the search's values adversarial images in the file refute.
        gamma_last: deviation at the last iterate instead of the best.
        relative_gamma: median of gamma over epsilon times the gradient's dual norm, the largest
            change of the tangent in the ball: near 0 where the tangent describes the loss well.
        linear_term: linear term at the perturbations of gamma.
        gradient_dual_norm: dual norm of the gradients at the images.
        proposition_4_1_violations: images where the change of the loss exceeds linear term plus
            gamma by more than rounding; the proposition excludes them.
        proposition_4_1: its bound on the change of the loss within the ball, epsilon times the
            gradient's dual norm plus gamma.
        proposition_c2: change of the loss implied by gamma alone, None unless the loss is
            cross-entropy.
        below_floor: share of images whose gamma is no larger than rounding.
        gradient_passes: gradients per image, at most.
        warnings: limitations of the result.
        complete: whether every requested image has its row.
    """

    norm: str
    epsilon: float
    loss: str
    sided: str
    box: bool
    gamma: SummaryStatistics
    refuted: Refuted
    gamma_last: SummaryStatistics
    relative_gamma: float
    linear_term: SummaryStatistics
    gradient_dual_norm: SummaryStatistics
    proposition_4_1_violations: int
    proposition_4_1: SummaryStatistics
    proposition_c2: ImpliedBound | None
    below_floor: float
    gradient_passes: int
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return dict(plain(asdict(self)))


def summarise(store: ResultStore, key: str) -> LinearitySummary:
    """Summary of the linearity table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    columns = {name: group.column(name, indices) for name in group.columns}
    # Tables of earlier versions have rows of images without a tangent; new ones have none.
    tangible = np.isfinite(columns["loss"]) & np.isfinite(columns["gradient_dual_norm"])
    columns = {name: values[tangible] for name, values in columns.items()}
    indices = indices[tangible]
    settings = group.settings
    floor = columns["floor"]
    reach = settings["epsilon"] * columns["gradient_dual_norm"]
    excess = columns["loss_change"] - columns["linear_term"] - columns["gamma"]
    gamma, refuted = _with_evidence(store, group, indices, columns)
    columns["gamma"] = gamma
    below = float((gamma <= floor).mean()) if len(gamma) else float("nan")
    return LinearitySummary(
        norm=settings["norm"],
        epsilon=settings["epsilon"],
        loss=settings["loss"],
        sided=settings["sided"],
        box=settings.get("box", True),
        gamma=summary_statistics(gamma),
        refuted=refuted,
        gamma_last=summary_statistics(columns["gamma_last"]),
        relative_gamma=_relative(gamma, reach),
        linear_term=summary_statistics(columns["linear_term"]),
        gradient_dual_norm=summary_statistics(columns["gradient_dual_norm"]),
        proposition_4_1_violations=int((excess > floor).sum()) if settings["sided"] == "two" else 0,
        proposition_4_1=summary_statistics(reach + gamma),
        proposition_c2=_implied(columns, reach) if settings["loss"] == Loss.CE else None,
        below_floor=below,
        gradient_passes=int(group.attribute("gradient_passes")),
        warnings=(
            *_warnings(columns, below, straight_through=group.attribute("straight_through")),
            *_refuted_warnings(refuted),
        ),
        complete=group.complete,
    )


def _with_evidence(
    store: ResultStore,
    group: AnalysisGroup,
    indices: NDArray[np.int64],
    columns: dict[str, NDArray[Any]],
) -> tuple[NDArray[np.float64], Refuted]:
    """Gamma ``(n,)``, larger where an adversarial image within epsilon shows that it is.

    And how many images that were, out of how many.
    """
    settings, stored = group.settings, columns["gamma"]
    epsilon = settings["epsilon"]
    reach, gamma = epsilon * columns["gradient_dual_norm"], stored.copy()
    known, wrong, broken, above = (np.zeros(len(indices), dtype=bool) for _ in range(4))
    found = evidence_about(store, norm=settings["norm"], loss=settings["loss"], indices=indices)
    for one in found:
        within = one.within(epsilon)
        known |= within
        rounding = np.fmax(columns["floor"], one.floor)
        limit = stored + rounding
        deviation = sided(one.residual, settings["sided"])
        more = within & (deviation > limit)
        wrong |= more
        gamma = np.where(more, np.fmax(gamma, deviation), gamma)
        change, linear = np.abs(one.change), np.abs(one.change - one.residual)
        if settings["sided"] == "two":
            broken |= within & (change > linear + limit)
            above |= within & (change > reach + limit)
    for one in other_searches(store, group, indices) if settings["sided"] == "two" else ():
        limit = stored + np.fmax(columns["floor"], one.floor)
        above |= one.within(epsilon) & (np.abs(one.change) > reach + limit)
    return gamma, Refuted(*(int(mask.sum()) for mask in (known, wrong, broken, above)))


def _refuted_warnings(refuted: Refuted) -> tuple[str, ...]:
    if not refuted.gamma:
        return ()
    return (
        f"adversarial images in the file refute the gamma that the search found at {refuted.gamma} "
        f"of {refuted.compared} images; the deviation there counts instead",
    )


def combined(summaries: Sequence[LinearitySummary]) -> dict[str, Any]:
    """JSON of the runs of one command, which differ in epsilon: `gamma` per run, and `runs`."""
    runs = [one.to_json() for one in summaries]
    shared = ("norm", "epsilon", "loss", "sided")
    entries = [{**{key: one[key] for key in shared}, **one["gamma"]} for one in runs]
    warnings = [line for one in summaries for line in one.warnings]
    return {"gamma": entries, "runs": runs, "warnings": list(dict.fromkeys(warnings))}


def _relative(gamma: NDArray[np.float64], reach: NDArray[np.float64]) -> float:
    """Median ratio of gamma to the tangent's largest change ``reach``, where that is above 0."""
    some = reach > 0
    return float(np.median(gamma[some] / reach[some])) if some.any() else float("nan")


def _implied(columns: dict[str, NDArray[Any]], reach: NDArray[np.float64]) -> ImpliedBound:
    r"""Proposition C.2 without its error term: :math:`|<\delta, g>| \le \sqrt{2 \gamma / p_y}`."""
    gamma, floor = columns["gamma"], columns["floor"]
    with np.errstate(over="ignore"):
        limit = np.sqrt(2 * gamma * np.exp(columns["loss"]))  # p_y = e^-loss
    nothing = float("nan")
    at_delta = float((columns["linear_term"] <= limit + floor).mean()) if len(gamma) else nothing
    in_ball = float((reach <= limit + floor).mean()) if len(gamma) else nothing
    return ImpliedBound(summary_statistics(limit + gamma), at_delta, in_ball)


def _warnings(
    columns: dict[str, NDArray[Any]], below_floor: float, *, straight_through: bool
) -> tuple[str, ...]:
    found = []
    vanishing = columns["gradient_dual_norm"] == 0
    if vanishing.any():
        found.append(
            f"the gradient is exactly 0 at {int(vanishing.sum())} of {len(vanishing)} images: "
            "the search may find nothing there, and gamma is then not informative"
        )
    if below_floor > 0.5:
        found.append("gamma is no larger than float32 rounding on most images")
    if straight_through:
        found.append("gradients of quantised nodes are straight-through estimates")
    return tuple(found)
