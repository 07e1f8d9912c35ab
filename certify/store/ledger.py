"""The ledger: does an adversarial image refute an estimate?

Per image and norm, ``estimated <= attacked`` should hold for the radii of the base classifier, and
no adversarial image within epsilon should deviate from the tangent by more than gamma, nor change
the loss by more than the bound from gamma. Where that does not hold (a *violation*), the estimate
is wrong; every violation is counted and listed. A certified radius of
smoothing is about the smoothed classifier, so it is compared with attacks on that classifier only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .evidence import evidence_about, sided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .store import AnalysisGroup, ResultStore

RELATIVE_TOLERANCE = 1e-6
"""A radius equal to the distance up to float32 rounding is no crossing."""

ESTIMATES = (
    *("l_bound", "omega_bound", "gamma_bound", "curvature_bound", "clever_score", "clever_bound"),
    *("l_bound_point", "omega_bound_point", "rho_bound", "rho_bound_point", "rho_own_bound"),
)
"""Columns of a bounds group that are radii of the base classifier."""

CAPPED = ("clever_score", "clever_bound")
"""Those that are no radius where they reach the largest epsilon of the group."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One estimated column against one attacked column.

    Attributes:
        estimate: group and column of the estimate; ``loss_bound`` for the bound from gamma.
        attack: group of the attacked distance, or of the loss at adversarial images.
        norm: norm of both.
        margin: margin that the radius is about, logit or prob; empty for others.
        compared: images that have a radius and for which an adversarial image was found; those
            that the model gets wrong have neither.
        count: images whose estimated radius exceeds the attacked distance.
        indices: those images, the worst crossing first.
        worst_ratio: largest radius / distance among them; 0 without a crossing.
        quantity: "radius", or "deviation" if the estimate is gamma or the bound of the loss from it
            and the adversarial images show larger values; the ratio is then value / estimate.
    """

    estimate: str
    attack: str
    norm: str
    margin: str
    compared: int
    count: int
    indices: tuple[int, ...]
    worst_ratio: float
    quantity: Literal["radius", "deviation"] = "radius"

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {**asdict(self), "indices": list(self.indices)}


def comparisons(store: ResultStore) -> tuple[Comparison, ...]:
    """Every estimated radius in ``store`` against every attacked distance of its norm.

    And every certified radius of a smoothed classifier against the attacked distances of the same.
    """
    estimated = (
        _compared(store, bounds, attack, name)
        for bounds in store.existing("bounds")
        for attack in (*store.existing("attack"), *store.existing("transfer"))
        if bounds.settings["norm"] == attack.settings["norm"]
        and bounds.settings.get("top_k", 1) == 1  # attacks look for another first class
        for name in ESTIMATES
        if name in bounds.columns and not np.isnan(radii_of(bounds, name)).all()
    )
    certified = (
        _compared_smoothed(store, smoothing, attack)
        for smoothing in store.existing("smoothing")
        for attack in store.existing("smoothing-attack")
        if smoothing.settings["sigma"] == attack.settings["sigma"]
        and smoothing.settings.get("precision", "float32") == "float32"  # as attacked
    )
    return (*estimated, *_deviations(store), *certified)


def radii_of(
    bounds: AnalysisGroup, name: str, indices: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Column ``name`` of radii of a bounds group; NaN where a value at its cap is no radius."""
    radii = np.asarray(bounds.column(name, indices), dtype=np.float64)
    epsilons = bounds.attribute("epsilons", [])
    if name not in CAPPED or not epsilons:
        return radii
    return np.where(radii >= epsilons[-1] * (1 - RELATIVE_TOLERANCE), np.nan, radii)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every comparison of a results file."""

    comparisons: tuple[Comparison, ...]

    @property
    def count(self) -> int:
        """Pairs of an estimate and an adversarial image that refutes it."""
        return sum(comparison.count for comparison in self.comparisons)

    @property
    def compared(self) -> int:
        """Pairs of an estimate and an adversarial image."""
        return sum(comparison.compared for comparison in self.comparisons)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        (radii, of_radii), (deviations, of_deviations) = (
            self._counts("radius"),
            self._counts("deviation"),
        )
        if self.compared == 0:
            if self.comparisons:
                return "nothing to compare: no image has both an estimate and an adversarial image"
            return "nothing to compare: the file holds no estimates and attacks in one norm"
        parts = []
        if of_radii:
            exceed = "exceeds" if radii == 1 else "exceed"
            parts.append(
                f"{radii} of {of_radii} estimated radii {exceed} the distance of an adversarial "
                "image"
                if radii
                else f"none of {of_radii} estimated radii exceeds its attacked distance"
            )
        if of_deviations:
            which = f"{deviations or 'none'} of {of_deviations} values of γ and of its bound"
            be = "is" if deviations <= 1 else "are"
            parts.append(f"{which} {be} below what an adversarial image shows")
        wrong = ": there the estimate is wrong" if self.count else ""
        return ", ".join(parts) + wrong

    def _counts(self, quantity: str) -> tuple[int, int]:
        """Violations and pairs among the comparisons of ``quantity``."""
        some = [one for one in self.comparisons if one.quantity == quantity]
        return sum(one.count for one in some), sum(one.compared for one in some)

    def to_json(self) -> dict[str, Any]:
        """Number of pairs and of violations, the comparisons, the sentence."""
        return {
            "count": self.count,
            "compared": self.compared,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "sentence": self.sentence,
        }


def ledger(store: ResultStore) -> Ledger:
    """The ledger of ``store``."""
    return Ledger(comparisons(store))


def _deviations(store: ResultStore) -> Iterator[Comparison]:
    """Gamma, and the bound of the loss from it, against the adversarial images within epsilon."""
    for group in store.existing("linearity"):
        settings = group.settings
        gamma = np.asarray(group.column("gamma"), dtype=np.float64)
        reach = settings["epsilon"] * group.column("gradient_dual_norm")
        for one in evidence_about(store, norm=settings["norm"], loss=settings["loss"]):
            rounding = np.fmax(group.column("floor"), one.floor)
            inside = one.within(settings["epsilon"])
            deviation = np.where(inside, sided(one.residual, settings["sided"]), np.nan)
            shown = [("gamma", gamma, deviation)]
            if settings["sided"] == "two":
                change = np.where(inside, np.abs(one.change), np.nan)
                shown.append(("loss_bound", reach + gamma, change))
            for name, estimate, value in shown:
                yield _deviation(
                    store,
                    _Named(f"{group.path}:{name}", estimate),
                    _Named(one.table, value),
                    rounding=rounding,
                    norm=str(settings["norm"]),
                )


def _deviation(
    store: ResultStore,
    estimate: _Named,
    shown: _Named,
    *,
    rounding: NDArray[np.float64],
    norm: str,
) -> Comparison:
    known = ~np.isnan(estimate.values) & ~np.isnan(shown.values)
    more = known & (shown.values > estimate.values + rounding)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(more, shown.values / estimate.values, 0.0)
    order = np.argsort(-ratio, kind="stable")[: int(more.sum())]
    return Comparison(
        estimate=estimate.name,
        attack=shown.name,
        norm=norm,
        margin="",
        compared=int(known.sum()),
        count=int(more.sum()),
        indices=tuple(int(index) for index in store.indices[order]),
        worst_ratio=float(ratio.max(initial=0.0)),
        quantity="deviation",
    )


def crossings(radius: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where ``radius`` exceeds ``distance`` by more than rounding; False where either is NaN."""
    return np.asarray(radius > distance * (1 + RELATIVE_TOLERANCE))


@dataclass(frozen=True, slots=True, eq=False)
class _Named:
    """Values of every image ``(n,)``, and where the file holds them."""

    name: str
    values: NDArray[np.float64]


def _compared(
    store: ResultStore, bounds: AnalysisGroup, attack: AnalysisGroup, name: str
) -> Comparison:
    radius = radii_of(bounds, name)
    distance = np.asarray(attack.column("distance"), dtype=np.float64)
    return _comparison(
        store,
        _Named(f"{bounds.path}:{name}", radius),
        _Named(attack.path, distance),
        norm=str(bounds.settings["norm"]),
        margin=str(bounds.settings.get("margin", "")),
    )


def _compared_smoothed(
    store: ResultStore, smoothing: AnalysisGroup, attack: AnalysisGroup
) -> Comparison:
    radius = np.asarray(smoothing.column("radius"), dtype=np.float64)
    distance = np.asarray(attack.column("distance"), dtype=np.float64)
    same = smoothing.column("prediction") == attack.column("reference")
    distance = np.where(same & (radius > 0), distance, np.nan)
    certified = _Named(f"{smoothing.path}:radius", radius)
    return _comparison(store, certified, _Named(attack.path, distance), norm="l2")


def _comparison(
    store: ResultStore, estimate: _Named, attack: _Named, *, norm: str, margin: str = ""
) -> Comparison:
    radius, distance = estimate.values, attack.values
    known = ~np.isnan(radius) & np.isfinite(distance) & ((radius > 0) | (distance > 0))
    crossing = known & crossings(radius, distance)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(crossing, radius / distance, 0.0)  # inf for an infinite radius
    order = np.argsort(-ratio, kind="stable")[: int(crossing.sum())]
    return Comparison(
        estimate=estimate.name,
        attack=attack.name,
        norm=norm,
        margin=margin,
        compared=int(known.sum()),
        count=int(crossing.sum()),
        indices=tuple(int(index) for index in store.indices[order]),
        worst_ratio=float(ratio.max(initial=0.0)),
    )
