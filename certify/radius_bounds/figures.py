"""Charts of the report: accuracy by the estimated radii, ledger, block maxima with their fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.tables import (
    Chart,
    Distances,
    Histogram,
    Place,
    Scatter,
    Series,
    Shares,
    margin_name,
    pixel,
)

from .tables import fit_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

    from .fits import FitSummary
    from .summary import BoundsSummary


def charts(
    store: ResultStore, found: Sequence[tuple[BoundsSummary, AnalysisGroup]]
) -> Iterator[Chart]:
    """Charts of every table of ``found``; the ledger's compare it with the attacks in ``store``."""
    attacks = [attack for attack in store.existing("attack") if len(attack.indices)]
    for summary, group in found:
        if _as_attacked(group):
            yield _accuracy(group)
            for attack in attacks:
                if _norm(group) == _norm(attack):
                    yield from _ledger(group, attack)
        yield from _extremes(summary, group)


def _norm(group: AnalysisGroup) -> str:
    return str(group.settings.get("norm", ""))


def _margin(group: AnalysisGroup) -> str:
    return margin_name(group.settings.get("margin"))


def _as_attacked(bounds: AnalysisGroup) -> bool:
    """Whether the radii of ``bounds`` refer to the top-1 class, as attacks do."""
    return bounds.settings.get("top_k", 1) == 1


def _radius(bounds: AnalysisGroup, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """The radius of each image by the rho-bound; NaN where there is none.

    In files without one, the larger of L- and omega-bound.
    """
    if _by_rho(bounds):
        return np.asarray(bounds.column("rho_bound", indices), dtype=np.float64)
    columns = [bounds.column(name, indices) for name in ("l_bound", "omega_bound")]
    return np.fmax(*(np.asarray(column, dtype=np.float64) for column in columns))


def _by_rho(bounds: AnalysisGroup) -> bool:
    """Whether the table has a rho-bound."""
    return "rho_bound" in bounds.columns and not np.isnan(bounds.column("rho_bound")).all()


def _accuracy(group: AnalysisGroup) -> Chart:
    """Accuracy implied by the estimated radii, in the figure of the accuracy under attack."""
    bound = "ρ-bound" if _by_rho(group) else "better bound"
    norm, name = _norm(group), f"by the {bound}, {_margin(group)}"
    column = Distances(name, "estimated", _radius(group, group.indices))
    caption = "Where the estimated curve lies above the attacked one, the estimate is wrong."
    content = Shares((column,), f"distance ε ({norm})")
    title = f"accuracy within ε ({norm})"
    return Chart(title, "estimated", caption, content, name=f"{norm} accuracy")


def _ledger(bounds: AnalysisGroup, attack: AnalysisGroup) -> Iterator[Chart]:
    """Estimated radius against attacked distance."""
    both = np.intersect1d(bounds.indices, attack.indices)
    radius = _radius(bounds, both)
    distance = np.asarray(attack.column("distance", both), dtype=np.float64)
    known = np.isfinite(radius) & np.isfinite(distance) & (distance > 0)
    if not known.any():
        return
    crossing = radius > distance * (1 + 1e-6)
    points = tuple(zip(distance[known].tolist(), radius[known].tolist(), strict=True))
    norm, margin = _norm(bounds), _margin(bounds)
    content = Scatter(
        points,
        tuple(bool(flag) for flag in crossing[known]),
        x_label=f"attacked distance ({norm})",
        y_label=f"estimated radius ({margin})",
    )
    which = "its ρ-bound" if _by_rho(bounds) else "the larger of L-bound and ω-bound"
    caption = f"One dot per image, at {which}. On or below the diagonal "
    caption += "the estimate is consistent with the attack; above it the estimate is wrong."
    title = f"estimated against attacked ({norm}, {margin})"
    yield Chart(title, "estimated", caption, content, Place.LEDGER, name="ledger")


def _extremes(summary: BoundsSummary, group: AnalysisGroup) -> Iterator[Chart]:
    """Block maxima with the fitted density, for L and for the middle omega and rho."""
    if summary.lipschitz is not None:
        yield from _fit(group, "lipschitz", "L", summary.lipschitz)
    if summary.omega:
        middle = len(summary.omega) // 2
        fit = summary.omega[middle]
        for place in (f"omega/{fit.epsilon:.6g}", f"omega/{middle}"):
            yield from _fit(group, place, f"ω({pixel(fit.epsilon)})", fit.fit)
    if summary.rho:
        one = summary.rho[len(summary.rho) // 2]
        name = f"ρ({pixel(one.epsilon)})"
        yield from _fit(group, f"rho/{one.epsilon:.6g}", name, one.fit)


def _fit(group: AnalysisGroup, place: str, name: str, fit: FitSummary) -> Iterator[Chart]:
    if f"{place}/block_maxima" not in group:
        return
    maxima = np.asarray(group.array(f"{place}/block_maxima"), dtype=np.float64)
    maxima = maxima[np.isfinite(maxima)]
    if len(maxima) < 2:
        return
    content = Histogram(
        maxima,
        x_label=f"block maximum of {name} ({_norm(group)})",
        bins=min(20, max(6, len(maxima) // 5)),
        density=_density(fit, maxima),
    )
    caption = f"{len(maxima)} blocks; fit: {fit_state(fit)}"
    if np.isfinite(fit.gof_p):
        caption += f", Anderson–Darling p = {fit.gof_p:.2g}"
    seen = f"block maxima of {name}"
    title = f"{seen} ({_norm(group)}, {_margin(group)})"
    yield Chart(title, "estimated", caption, content, Place.EXTREMES, name=seen)


def _density(fit: FitSummary, maxima: NDArray[np.float64]) -> Series | None:
    r"""GEV density :math:`\frac1s t^{\xi+1} e^{-t}`, :math:`t = (1 + \xi (x-m)/s)^{-1/\xi}`."""
    location, scale, shape = fit.location, fit.scale, fit.shape
    if not np.isfinite((location, scale, shape)).all() or not scale:
        return None
    x = np.linspace(float(maxima.min()), float(maxima.max()), 121)
    z = (x - location) / scale
    with np.errstate(all="ignore"):
        t = np.exp(-z) if abs(shape) < 1e-9 else np.maximum(1 + shape * z, 0.0) ** (-1 / shape)
        density = np.nan_to_num(t ** (shape + 1) * np.exp(-t) / scale, nan=0.0, posinf=0.0)
    return Series("fitted", "estimated", tuple(zip(x.tolist(), density.tolist(), strict=True)))
