"""Which pictures a report shows, drawn from the stored per-image numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.radius_bounds import fit_state
from robcert.certify.stats import reach_of, shares_above, step_places
from robcert.certify.tables import margin_name, pixel

from .svg import Series, curves, histogram, scatter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.auditing import Result
    from robcert.certify.store import ResultStore

RUN_STYLES = 4
"""Looks of several curves of one claim, classes run0 and so on of the page."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its claim and the sentence below it."""

    title: str
    claim: str
    svg: str
    caption: str


def curve_figures(store: ResultStore, found: tuple[Result, ...]) -> list[Figure]:
    """Accuracy against distance in each norm, certified accuracy against radius, gamma."""
    figures = [
        _accuracy_figure(norm, [r for r in found if _norm(r) == norm])
        for norm in ("linf", "l2", "l1")
        if any(r.analysis in ("attack", "bounds") and _norm(r) == norm for r in found)
    ]
    smoothing = [result for result in found if result.analysis == "smoothing"]
    if smoothing:
        figures.append(_certified_figure(store, smoothing))
        figures += [_draws_figure(result) for result in smoothing]
    figures += [_gamma_figure(result) for result in found if result.analysis == "linearity"]
    return figures


def ledger_figures(found: tuple[Result, ...]) -> list[Figure]:
    """Estimated radius against attacked distance, one picture a norm."""
    figures = []
    for bounds in filter(_bounds_as_attacked, found):
        for attack in (result for result in found if result.analysis == "attack"):
            if _norm(bounds) == _norm(attack):
                figures += _ledger_figure(bounds, attack)
    return figures


def extreme_figures(found: tuple[Result, ...]) -> list[Figure]:
    """Block maxima with the fitted density, for L and for the middle omega of each bounds run."""
    figures = []
    for result in (result for result in found if result.analysis == "bounds"):
        figures += _fit_figure(result, "lipschitz", "L", result.summary.get("lipschitz") or {})
        omegas = result.summary.get("omega") or []
        if omegas:
            entry = omegas[len(omegas) // 2]
            name = f"ω({pixel(entry['epsilon'])})"
            for place in _omega_places(entry["epsilon"], len(omegas) // 2):
                figures += _fit_figure(result, place, name, entry)
    return figures


def _omega_places(epsilon: float, position: int) -> tuple[str, ...]:
    return (f"omega/{epsilon:.6g}", f"omega/{position}")


def _norm(result: Result) -> str:
    return str(result.group.settings.get("norm", ""))


def _column(result: Result, name: str) -> NDArray[np.float64]:
    return np.asarray(result.group.column(name, result.group.indices), dtype=np.float64)


def _bounds_as_attacked(result: Result) -> bool:
    """Whether ``result`` has radii around which the first class stays, as attacks ask."""
    return result.analysis == "bounds" and result.group.settings.get("top_k", 1) == 1


def _radius(bounds: Result, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """The larger of the two estimated radii of each image; NaN where there is none."""
    columns = [bounds.group.column(name, indices) for name in ("l_bound", "omega_bound")]
    return np.fmax(*(np.asarray(column, dtype=np.float64) for column in columns))


def _accuracy_figure(norm: str, found: list[Result]) -> Figure:
    """Accuracy that attacks leave, above the accuracy that the estimated radii claim."""
    columns = [
        ("under attack", "attacked", _column(r, "distance"))
        for r in found
        if r.analysis == "attack"
    ]
    columns += [
        (
            f"by the better bound, {margin_name(r.group.settings)}",
            "estimated",
            _radius(r, r.group.indices),
        )
        for r in found
        if _bounds_as_attacked(r)
    ]
    reach = reach_of([values for _, _, values in columns]) or 1.0
    series = tuple(
        _survival(name, claim, values[~np.isnan(values)], reach) for name, claim, values in columns
    )
    svg = curves(
        series, x_label=f"distance ε ({norm})", y_label="accuracy", title=f"{norm} accuracy"
    )
    caption = "The truth lies below the attacked curve. Bands: 95 % intervals of the share."
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


def _certified_figure(store: ResultStore, found: list[Result]) -> Figure:
    radii = [_certified_radii(store, result) for result in found]
    reach = max((float(values.max(initial=0.0)) for values in radii), default=0.0) or 1.0
    series = tuple(
        _survival(_smoothed(result), "certified", values, reach, f"run{number % RUN_STYLES}")
        for number, (result, values) in enumerate(zip(found, radii, strict=True))
    )
    svg = curves(series, x_label="certified radius (l2)", y_label="accuracy", title="certified")
    caption = "Share of images on which the smoothed classifier is right and certified farther out."
    caption += " Bands: 95 % intervals of the share."
    if len(found) > 1:
        caption += " Each curve is a classifier of its own; no radius is taken from two of them."
    return Figure("certified accuracy against radius", "certified", svg, caption)


def _certified_radii(store: ResultStore, result: Result) -> NDArray[np.float64]:
    """Certified radii, -1 where the smoothed classifier abstained or is wrong."""
    indices = _finished(result)
    prediction = result.group.column("prediction", indices)
    labels = store.labels[store.rows(indices)]
    right = (prediction == labels) | ((labels < 0) & (prediction >= 0))
    return np.where(right, result.group.column("radius", indices), -1.0)


def _finished(result: Result) -> NDArray[np.int64]:
    """Images of the result; a time budget may have left some out."""
    indices = result.group.indices
    return indices[result.group.computed(indices)]


def _smoothed(result: Result) -> str:
    """Name of one smoothing run among several."""
    settings = result.group.settings
    parts = [f"σ = {settings.get('sigma'):g}", f"n = {settings.get('n')}"]
    parts += [str(settings["mode"])] if settings.get("mode") != "grid" else []
    parts += [word for word in ("exact", "runner_up", "label_mode") if settings.get(word)]
    precision = settings.get("precision", "float32")
    parts += [precision] if precision != "float32" else []
    return ", ".join(part.replace("_", "-") for part in parts)


def _draws_figure(result: Result) -> Figure:
    used = np.asarray(result.group.column("n_used", _finished(result)), dtype=np.float64)
    svg = histogram(
        np.log10(used.clip(min=1.0)),
        claim="measured",
        x_label="log₁₀ of the draws that an image took",
        title="draws an image",
    )
    caption = (
        f"{_smoothed(result)}: {used.mean():,.0f} draws on average, at most {used.max():,.0f}."
    )
    caption += " Those that chose the class are not counted."
    return Figure("draws an image", "measured", svg, caption)


def _gamma_figure(result: Result) -> Figure:
    gamma = _column(result, "gamma")
    gamma = gamma[np.isfinite(gamma)]
    epsilon = pixel(result.group.settings.get("epsilon"))
    svg = histogram(
        np.sqrt(gamma.clip(min=0.0)),
        claim="estimated",
        x_label=f"√γ at ε = {epsilon} ({_norm(result)})",
        title="gamma",
    )
    caption = "Near 0 the loss is almost its tangent; a long tail means that gradients mislead."
    return Figure("local linearity", "estimated", svg, caption)


def _ledger_figure(bounds: Result, attack: Result) -> list[Figure]:
    both = np.intersect1d(bounds.group.indices, attack.group.indices)
    radius = _radius(bounds, both)
    distance = np.asarray(attack.group.column("distance", both), dtype=np.float64)
    known = np.isfinite(radius) & np.isfinite(distance) & (distance > 0)
    if not known.any():
        return []
    crossing = radius > distance * (1 + 1e-6)
    points = tuple(zip(distance[known].tolist(), radius[known].tolist(), strict=True))
    norm, margin = _norm(bounds), margin_name(bounds.group.settings)
    svg = scatter(
        points,
        tuple(bool(flag) for flag in crossing[known]),
        x_label=f"attacked distance ({norm})",
        y_label=f"estimated radius ({margin})",
        title="ledger",
    )
    caption = "One dot an image, at the larger of L-bound and ω-bound. Below the diagonal the two "
    caption += "agree; above it the estimate is wrong."
    return [Figure(f"estimated against attacked ({norm}, {margin})", "estimated", svg, caption)]


def _fit_figure(result: Result, place: str, name: str, fit: dict[str, Any]) -> list[Figure]:
    if f"{place}/block_maxima" not in result.group:
        return []
    maxima = np.asarray(result.group.array(f"{place}/block_maxima"), dtype=np.float64)
    maxima = maxima[np.isfinite(maxima)]
    if len(maxima) < 2:
        return []
    svg = histogram(
        maxima,
        claim="estimated",
        x_label=f"block maximum of {name} ({_norm(result)})",
        title=f"block maxima of {name}",
        bins=min(20, max(6, len(maxima) // 5)),
        density=_density(fit, maxima),
    )
    caption = f"{len(maxima)} blocks; fit: {fit_state(fit)}"
    if fit.get("gof_p") is not None:
        caption += f", Anderson–Darling p = {fit['gof_p']:.2g}"
    title = f"block maxima of {name} ({_norm(result)}, {margin_name(result.group.settings)})"
    return [Figure(title, "estimated", svg, caption)]


def _density(fit: dict[str, Any], maxima: NDArray[np.float64]) -> Series | None:
    r"""GEV density :math:`\frac1s t^{\xi+1} e^{-t}`, :math:`t = (1 + \xi (x-m)/s)^{-1/\xi}`."""
    numbers = [fit.get(name) for name in ("location", "scale", "shape")]
    if any(number is None for number in numbers) or not numbers[1]:
        return None
    location, scale, shape = (float(number) for number in numbers if number is not None)
    x = np.linspace(float(maxima.min()), float(maxima.max()), 121)
    z = (x - location) / scale
    with np.errstate(all="ignore"):
        t = np.exp(-z) if abs(shape) < 1e-9 else np.maximum(1 + shape * z, 0.0) ** (-1 / shape)
        density = np.nan_to_num(t ** (shape + 1) * np.exp(-t) / scale, nan=0.0, posinf=0.0)
    return Series("fitted", "estimated", tuple(zip(x.tolist(), density.tolist(), strict=True)))
