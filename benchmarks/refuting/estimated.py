"""Estimated numbers: radii, extreme-value fits, γ and what is printed beside them.

What each claims, and what refutes it:

* a radius: that no adversarial image is nearer. Refuted by a re-checked adversarial image nearer
  than it, of the file's attacks or of the longer ones.
* the error at ε by a radius: that no more images than these are misclassified within ε. Refuted by
  a larger share of images with an adversarial image within ε.
* L, ω(ε), ρ(ε) and the curvature, point and upper limit: that no image has a larger value. Refuted
  if any of the examined images, or any of their adversarial images, has one.
* ε‖∇‖ + γ: that the loss changes by no more within ε. Refuted by a perturbation that changes it
  more.
* γ, and an image's own residuals and excesses: only that a deviation that large exists, for they
  are lower estimates. A longer search that finds more does not refute them; they are *short* if it
  finds over 10 % more.

A refuted number is *marked* if the file with the longer searches says so: the ledger lists
the image, or the fit or the table carries a count of refuted images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify import radius_bounds
from robcert.certify.core import Kind
from robcert.certify.store import crossings, evidence_about, ledger, radii_of

from .check import SHORT, Check
from .files import finished, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.radius_bounds import BoundsSummary
    from robcert.certify.radius_bounds.fits import FitSummary
    from robcert.certify.store import AnalysisGroup

    from .files import Files
    from .numpy_model import Reals

    Indices = NDArray[np.int64]

ESTIMATED = Kind.ESTIMATED
RADII = (
    *("rho_bound", "l_bound", "omega_bound", "gamma_bound", "rho_own_bound", "curvature_bound"),
    *("clever_score", "clever_bound", "rho_bound_point", "l_bound_point", "omega_bound_point"),
)
ERRORS = (
    *("rho_bound", "l_bound", "omega_bound", "gamma_bound", "rho_own_bound", "curvature_bound"),
    *("clever_score", "clever_bound"),
)
MARGINS = {"logit": "margin", "prob": "prob-margin"}


def estimated(files: Files) -> Iterator[Check]:
    """Checks of all estimated numbers."""
    noted = _noted(files)
    fullest = files.fullest
    for group in finished(files.store, "bounds"):
        if group.settings.get("top_k", 1) > 1:
            continue
        summary = radius_bounds.summarise(files.store, group.path)
        marks = radius_bounds.summarise(fullest, group.path)
        yield from _radii(files, group, noted)
        yield from _errors(files, group, summary, marks)
        yield from _fits(files, group, summary, marks)
        yield from _own(files, group)
    for group in finished(files.store, "linearity"):
        yield from _deviation(files, group, noted)


def _noted(files: Files) -> dict[str, set[int]]:
    """Images that the ledger lists, by estimate."""
    found: dict[str, set[int]] = {}
    for one in ledger(files.fullest).comparisons:
        found.setdefault(one.estimate, set()).update(one.indices)
    return found


def _radii(files: Files, group: AnalysisGroup, noted: dict[str, set[int]]) -> Iterator[Check]:
    indices = rows_of(group)
    distance = files.nearest(str(group.settings["norm"]), indices)
    for name in RADII:
        if name not in group.columns:
            continue
        radius = radii_of(group, name, indices)
        over = crossings(radius, distance)
        for at, index in enumerate(indices.tolist()):
            if np.isnan(radius[at]) or np.isnan(distance[at]):
                continue
            yield Check(
                ESTIMATED,
                _called(name),
                f"{group.path}, image {index}",
                float(radius[at]),
                float(distance[at]),
                refuted=bool(over[at]),
                marked=index in noted.get(f"{group.path}:{name}", set()),
            )


def _called(name: str) -> str:
    """The radius of a column in words."""
    return "radius: " + name.replace("_point", ", point").replace("_", " ")


def _errors(
    files: Files, group: AnalysisGroup, summary: BoundsSummary, marks: BoundsSummary
) -> Iterator[Check]:
    distance = files.nearest(summary.norm, rows_of(group))
    if np.isnan(distance).any() or not len(distance):
        return
    attacked = {entry.epsilon: entry.attacked for entry in marks.error_at}
    for entry in summary.error_at:
        least = attacked.get(entry.epsilon)
        error = float((distance < entry.epsilon).mean())
        for name in ERRORS:
            said = getattr(entry, name, None)
            if said is not None:
                yield Check(
                    ESTIMATED,
                    "error at ε by a radius",
                    f"{group.path}, {name}, ε = {entry.epsilon:.4g}",
                    said,
                    error,
                    refuted=said < error - 1e-9,
                    marked=least is not None and said < least,
                )


@dataclass(frozen=True)
class _Seen:
    """Largest values of the loss's behaviour at the examined images, by any search.

    Attributes:
        slope: of a gradient norm, or of the mean slope to an adversarial image.
        residual: within each radius of the grid.
        excess: likewise.
        curvature: of the Hessian's largest eigenvalue; NaN outside l2.
    """

    slope: float
    residual: Reals
    excess: Reals
    curvature: float


def _seen(files: Files, group: AnalysisGroup) -> _Seen:
    said, epsilons = group.settings, group.attribute("epsilons", [])
    indices = np.arange(len(files.x))
    slope, curvature = -np.inf, np.nan
    residual, excess = np.full((2, len(epsilons)), -np.inf)
    for sample in _samples(files, group):
        rows = rows_of(sample)
        slope = max(slope, float(sample.column("largest_gradient_norm", rows).max()))
        residual = np.fmax(residual, sample.column("residual", rows).max(0))
        excess = np.fmax(excess, sample.column("excess", rows).max(0))
        curvature = float(np.fmax(curvature, sample.column("curvature", rows).max()))
    for store in files.stores:
        known = indices[np.isin(indices, store.indices)]
        loss = MARGINS[said["margin"]]
        for one in evidence_about(store, norm=said["norm"], loss=loss, indices=known):
            steep = np.nan_to_num(one.slope - one.floor / one.distance, nan=-np.inf)
            slope = max(slope, float(steep.max(initial=-np.inf)))
            for at, epsilon in enumerate(epsilons):
                inside = one.within(epsilon)
                for largest, values in ((residual, one.residual), (excess, one.excess)):
                    above = (values - one.floor)[inside]
                    largest[at] = max(largest[at], float(np.max(above, initial=-np.inf)))
    return _Seen(slope, residual, excess, curvature)


def _samples(files: Files, group: AnalysisGroup) -> Iterator[AnalysisGroup]:
    """What the longer searches sampled of the same margin, norm and radii."""
    same = ("norm", "epsilon", "margin", "points", "top_k", "region")
    for one in files.further("bounds-sample"):
        if all(one.settings.get(name) == group.settings.get(name) for name in same):
            yield one


def _fits(
    files: Files, group: AnalysisGroup, summary: BoundsSummary, marks: BoundsSummary
) -> Iterator[Check]:
    seen = _seen(files, group)
    largest = [seen.slope, *seen.residual, *seen.excess, seen.curvature]
    some = zip(_all_fits(summary), _all_fits(marks), largest, strict=True)
    for (name, fit), (_, mark), found in some:
        if fit is None or not np.isfinite(found):
            continue
        over = (mark.refuted, mark.refuted_point) if mark else (0, 0)
        limits = (
            ("upper limit", fit.upper, fit.limited, over[0]),
            ("point", fit.point, fit.estimated, over[1]),
        )
        for what, printed, given, marks_of in limits:
            if given:
                yield Check(
                    ESTIMATED,
                    f"{name}, {what}",
                    f"{group.path}, {name}",
                    float(printed),
                    float(found),
                    refuted=found > printed * (1 + 1e-6),
                    marked=marks_of > 0,
                )


def _all_fits(summary: BoundsSummary) -> list[tuple[str, FitSummary | None]]:
    """Every fit of a summary with its name, in a fixed order."""
    return [
        ("L", summary.lipschitz),
        *(("ω", one.fit) for one in summary.omega),
        *(("ρ", one.fit) for one in summary.rho),
        ("curvature", summary.curvature),
    ]


def _own(files: Files, group: AnalysisGroup) -> Iterator[Check]:
    """Each image's own residuals and excesses, which are lower estimates."""
    epsilons = group.attribute("epsilons", [])
    for sample in _samples(files, group):
        rows = rows_of(sample)
        place = {int(i): row for row, i in zip(rows, sample.column("index", rows), strict=True)}
        for index in rows_of(group).tolist():
            if index not in place:
                continue
            at = np.array([place[index]])
            floor = float(sample.column("floor", at)[0])
            for name, column in (("residual", "gamma_upper"), ("excess", "rho_own")):
                mine = group.column(column, np.array([index]))[0]
                more = sample.column(name, at)[0]
                for epsilon, said, found in zip(epsilons, mine, more, strict=True):
                    if not np.isnan(said):
                        where = f"{group.path}, image {index}, ε = {epsilon:.4g}"
                        yield _lower(f"an image's own {name}", where, said, found, floor)


def _lower(quantity: str, where: str, said: float, found: float, floor: float) -> Check:
    """A lower estimate, which only claims that as much exists."""
    short = bool(found > SHORT * said + floor)
    return Check(ESTIMATED, quantity, where, float(said), float(found), refuted=False, short=short)


def _deviation(files: Files, group: AnalysisGroup, noted: dict[str, set[int]]) -> Iterator[Check]:
    """γ, which is a lower estimate, and ε‖∇‖ + γ, which is not."""
    said, indices = group.settings, rows_of(group)
    gamma = np.asarray(group.column("gamma", indices), dtype=np.float64)
    reach = said["epsilon"] * group.column("gradient_dual_norm", indices)
    floor = np.asarray(group.column("floor", indices), dtype=np.float64)
    more, change = _longer_deviation(files, said, indices)
    for at, index in enumerate(indices.tolist()):
        if np.isnan(gamma[at]):
            continue
        where = f"{group.path}, image {index}"
        if np.isfinite(more[at]):
            yield _lower("γ", where, gamma[at], more[at], floor[at])
        if said["sided"] == "two" and np.isfinite(change[at]):
            bound = reach[at] + gamma[at]
            yield Check(
                ESTIMATED,
                "ε‖∇‖ + γ",
                where,
                float(bound),
                float(change[at]),
                refuted=bool(change[at] > bound + floor[at]),
                marked=index in noted.get(f"{group.path}:loss_bound", set()),
            )


def _longer_deviation(files: Files, said: dict[str, Any], indices: Indices) -> tuple[Reals, Reals]:
    """Largest deviation and largest change of the loss that anything found within ε, per image."""
    more, change = np.full((2, len(indices)), -np.inf)
    same = ("norm", "epsilon", "loss", "sided")
    for group in files.further("linearity"):
        if all(group.settings.get(name) == said.get(name) for name in same):
            inside = np.isin(indices, rows_of(group))
            more[inside] = np.fmax(more[inside], group.column("gamma", indices[inside]))
            found = np.abs(group.column("loss_change", indices[inside]))
            change[inside] = np.fmax(change[inside], found)
    for store in files.stores:
        known = np.isin(indices, store.indices)
        for one in evidence_about(
            store, norm=said["norm"], loss=said["loss"], indices=indices[known]
        ):
            within = one.within(said["epsilon"])
            found = np.where(within, np.abs(one.change) - one.floor, -np.inf)
            change[known] = np.fmax(change[known], found)
            deviation = np.where(within, np.abs(one.residual) - one.floor, -np.inf)
            if said["sided"] == "two":
                more[known] = np.fmax(more[known], deviation)
    return more, change
