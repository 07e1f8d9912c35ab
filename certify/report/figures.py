"""Figures of a report, from the stored per-image numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.attacks import AttackSummary
from robcert.certify.auditing import of_kind
from robcert.certify.local_linearity import LinearitySummary
from robcert.certify.radius_bounds import BoundsSummary, fit_state
from robcert.certify.smoothing import SmoothingSummary
from robcert.certify.stats import reach_of, shares_above, step_places
from robcert.certify.tables import margin_name, pixel

from .svg import Series, curves, histogram, scatter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.auditing import Readings
    from robcert.certify.radius_bounds import FitSummary
    from robcert.certify.store import AnalysisGroup, ResultStore

RUN_STYLES = 4
"""Style sheet classes for several curves of one claim."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its claim and caption."""

    title: str
    claim: str
    svg: str
    caption: str


def curve_figures(store: ResultStore, found: Readings) -> list[Figure]:
    """Accuracy against distance in each norm, certified accuracy against radius, gamma."""
    attacked = [group for _, group in of_kind(found, AttackSummary)]
    bounds = [group for _, group in of_kind(found, BoundsSummary)]
    figures = [
        _accuracy_figure(
            norm,
            [group for group in attacked if _norm(group) == norm],
            [group for group in bounds if _norm(group) == norm],
        )
        for norm in ("linf", "l2", "l1")
        if any(_norm(group) == norm for group in (*attacked, *bounds))
    ]
    smoothing = [group for _, group in of_kind(found, SmoothingSummary)]
    if smoothing:
        figures.append(_certified_figure(store, smoothing))
        figures += [_draws_figure(group) for group in smoothing]
    figures += [_gamma_figure(group) for _, group in of_kind(found, LinearitySummary)]
    return figures


def ledger_figures(found: Readings) -> list[Figure]:
    """Estimated radius against attacked distance, one picture per norm."""
    figures = []
    for _, bounds in of_kind(found, BoundsSummary):
        for _, attack in of_kind(found, AttackSummary):
            if _bounds_as_attacked(bounds) and _norm(bounds) == _norm(attack):
                figures += _ledger_figure(bounds, attack)
    return figures


def extreme_figures(found: Readings) -> list[Figure]:
    """Block maxima with the fitted density, for L and for the middle omega of each bounds run."""
    figures = []
    for summary, group in of_kind(found, BoundsSummary):
        if summary.lipschitz is not None:
            figures += _fit_figure(group, "lipschitz", "L", summary.lipschitz)
        if summary.omega:
            middle = len(summary.omega) // 2
            fit = summary.omega[middle]
            for place in _omega_places(fit.epsilon, middle):
                figures += _fit_figure(group, place, f"ω({pixel(fit.epsilon)})", fit.fit)
    return figures


def _omega_places(epsilon: float, position: int) -> tuple[str, ...]:
    return (f"omega/{epsilon:.6g}", f"omega/{position}")


def _norm(group: AnalysisGroup) -> str:
    return str(group.settings.get("norm", ""))


def _column(group: AnalysisGroup, name: str) -> NDArray[np.float64]:
    return np.asarray(group.column(name, group.indices), dtype=np.float64)


def _bounds_as_attacked(bounds: AnalysisGroup) -> bool:
    """Whether the radii of ``bounds`` refer to the top-1 class, as attacks do."""
    return bounds.settings.get("top_k", 1) == 1


def _radius(bounds: AnalysisGroup, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """The larger of the two estimated radii of each image; NaN where there is none."""
    columns = [bounds.column(name, indices) for name in ("l_bound", "omega_bound")]
    return np.fmax(*(np.asarray(column, dtype=np.float64) for column in columns))


def _accuracy_figure(
    norm: str, attacks: list[AnalysisGroup], bounds: list[AnalysisGroup]
) -> Figure:
    """Figure of the accuracy under attack and of that implied by the estimated radii."""
    columns = [("under attack", "attacked", _column(group, "distance")) for group in attacks]
    columns += [
        (
            f"by the better bound, {margin_name(group.settings.get('margin'))}",
            "estimated",
            _radius(group, group.indices),
        )
        for group in bounds
        if _bounds_as_attacked(group)
    ]
    reach = reach_of([values for _, _, values in columns]) or 1.0
    series = tuple(
        _survival(name, claim, values[~np.isnan(values)], reach) for name, claim, values in columns
    )
    svg = curves(
        series, x_label=f"distance ε ({norm})", y_label="accuracy", title=f"{norm} accuracy"
    )
    caption = "The true accuracy is at most the attacked curve. Bands: 95 % intervals."
    if any(claim == "estimated" for _, claim, _ in columns):
        caption += " Where the estimated curve lies above the attacked one, the estimate is wrong."
    return Figure(f"accuracy within ε ({norm})", "attacked", svg, caption)


def _survival(
    name: str, claim: str, values: NDArray[np.float64], reach: float, style: str = ""
) -> Series:
    """Share of ``values`` above every distance up to ``reach`` (misclassified images have 0)."""
    places = step_places(values, reach) if len(values) else np.empty(0)
    value, lower, upper = shares_above(values, places).T.tolist()
    points = tuple(zip(places.tolist(), value, strict=True))
    label = f"{name} ({claim})"
    return Series(label, claim, points, tuple(lower), tuple(upper), step=True, style=style)


def _certified_figure(store: ResultStore, found: list[AnalysisGroup]) -> Figure:
    radii = [_certified_radii(store, group) for group in found]
    reach = max((float(values.max(initial=0.0)) for values in radii), default=0.0) or 1.0
    series = tuple(
        _survival(_smoothed(group), "certified", values, reach, f"run{number % RUN_STYLES}")
        for number, (group, values) in enumerate(zip(found, radii, strict=True))
    )
    svg = curves(series, x_label="certified radius (l2)", y_label="accuracy", title="certified")
    caption = "Share of images that are classified correctly and certified to a larger radius."
    caption += " Bands: 95 % intervals."
    if len(found) > 1:
        caption += " Each curve is a separate smoothed classifier; radii are not combined."
    return Figure("certified accuracy against radius", "certified", svg, caption)


def _certified_radii(store: ResultStore, group: AnalysisGroup) -> NDArray[np.float64]:
    """Certified radii, -1 where the smoothed classifier abstained or is wrong."""
    indices = _finished(group)
    prediction = group.column("prediction", indices)
    labels = store.labels[store.rows(indices)]
    right = (prediction == labels) | ((labels < 0) & (prediction >= 0))
    return np.where(right, group.column("radius", indices), -1.0)


def _finished(group: AnalysisGroup) -> NDArray[np.int64]:
    """Images of the result; a time budget may have excluded some."""
    indices = group.indices
    return indices[group.computed(indices)]


def _smoothed(group: AnalysisGroup) -> str:
    """Name of one smoothing run among several."""
    settings = group.settings
    parts = [f"σ = {settings.get('sigma'):g}", f"n = {settings.get('n')}"]
    parts += [str(settings["mode"])] if settings.get("mode") != "grid" else []
    parts += [word for word in ("exact", "runner_up", "label_mode") if settings.get(word)]
    precision = settings.get("precision", "float32")
    parts += [precision] if precision != "float32" else []
    return ", ".join(part.replace("_", "-") for part in parts)


def _draws_figure(group: AnalysisGroup) -> Figure:
    used = np.asarray(group.column("n_used", _finished(group)), dtype=np.float64)
    svg = histogram(
        np.log10(used.clip(min=1.0)),
        claim="measured",
        x_label="log₁₀ of noise draws per image",
        title="noise draws per image",
    )
    caption = f"{_smoothed(group)}: mean {used.mean():,.0f} noise draws, at most {used.max():,.0f}."
    caption += " The draws that selected the class are not counted."
    return Figure("noise draws per image", "measured", svg, caption)


def _gamma_figure(group: AnalysisGroup) -> Figure:
    gamma = _column(group, "gamma")
    gamma = gamma[np.isfinite(gamma)]
    epsilon = pixel(group.settings.get("epsilon"))
    svg = histogram(
        np.sqrt(gamma.clip(min=0.0)),
        claim="estimated",
        x_label=f"√γ at ε = {epsilon} ({_norm(group)})",
        title="gamma",
    )
    caption = "Near 0 the loss is almost linear; in a long tail gradients are misleading."
    return Figure("local linearity", "estimated", svg, caption)


def _ledger_figure(bounds: AnalysisGroup, attack: AnalysisGroup) -> list[Figure]:
    both = np.intersect1d(bounds.indices, attack.indices)
    radius = _radius(bounds, both)
    distance = np.asarray(attack.column("distance", both), dtype=np.float64)
    known = np.isfinite(radius) & np.isfinite(distance) & (distance > 0)
    if not known.any():
        return []
    crossing = radius > distance * (1 + 1e-6)
    points = tuple(zip(distance[known].tolist(), radius[known].tolist(), strict=True))
    norm, margin = _norm(bounds), margin_name(bounds.settings.get("margin"))
    svg = scatter(
        points,
        tuple(bool(flag) for flag in crossing[known]),
        x_label=f"attacked distance ({norm})",
        y_label=f"estimated radius ({margin})",
        title="ledger",
    )
    caption = "One dot per image, at the larger of L-bound and ω-bound. On or below the diagonal "
    caption += "the estimate is consistent with the attack; above it the estimate is wrong."
    return [Figure(f"estimated against attacked ({norm}, {margin})", "estimated", svg, caption)]


def _fit_figure(group: AnalysisGroup, place: str, name: str, fit: FitSummary) -> list[Figure]:
    if f"{place}/block_maxima" not in group:
        return []
    maxima = np.asarray(group.array(f"{place}/block_maxima"), dtype=np.float64)
    maxima = maxima[np.isfinite(maxima)]
    if len(maxima) < 2:
        return []
    svg = histogram(
        maxima,
        claim="estimated",
        x_label=f"block maximum of {name} ({_norm(group)})",
        title=f"block maxima of {name}",
        bins=min(20, max(6, len(maxima) // 5)),
        density=_density(fit, maxima),
    )
    caption = f"{len(maxima)} blocks; fit: {fit_state(fit)}"
    if np.isfinite(fit.gof_p):
        caption += f", Anderson–Darling p = {fit.gof_p:.2g}"
    title = f"block maxima of {name} ({_norm(group)}, {margin_name(group.settings.get('margin'))})"
    return [Figure(title, "estimated", svg, caption)]


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
