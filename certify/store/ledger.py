"""The ledger: does an adversarial image refute an estimate or a certificate?

Per image and norm, ``estimated <= attacked`` should hold for the radii of the base classifier, and
no adversarial image within epsilon should deviate from the tangent by more than gamma. Neither it
nor what another search for gamma found should change the loss by more than the bound from gamma.
Gamma itself is a lower estimate, which a search that finds more does not refute. Where that does
not hold (a *violation*), the estimate is wrong; every violation is counted and listed. A certified
radius of smoothing is about the smoothed classifier, so it is compared with attacks on that
classifier only.

A certified radius of `robcert verify` is a proof about the base classifier. One that reaches an
attacked distance (a *contradiction*) is a fault of robcert, and ends every command that meets it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from robcert.certify.core import Kind
from robcert.certify.errors import ContradictionError

from .adversarial import CHECKS, ball_of, checked_distance
from .evidence import evidence_about, other_searches, sided

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .store import AnalysisGroup, ResultStore

RELATIVE_TOLERANCE = 1e-6
"""A radius equal to the distance up to float32 rounding is no crossing."""

ESTIMATES = (
    *("l_bound", "omega_bound", "gamma_bound", "curvature_bound", "clever_score", "clever_bound"),
    *("l_bound_point", "omega_bound_point", "rho_bound", "rho_bound_point", "rho_own_bound"),
)
"""Columns of a bounds group that are radii of the base classifier."""

ATTACKED_AT_RADIUS = 1e-4
"""Relative rounding of an attacked distance that equals a searched radius: such distances are
stored as that radius where they exceed it by rounding of pixels alone."""

CAPPED = ("clever_score", "clever_bound")
"""Those that are no radius where they reach the largest epsilon of the group."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One estimated or certified column against one attacked column.

    Attributes:
        estimate: group and column of the estimate or certificate; ``loss_bound`` for the bound
            from gamma.
        attack: group of the attacked distance, or of the loss at adversarial images.
        norm: norm of both.
        margin: margin that the radius is about, logit or prob; empty for others.
        compared: images that have a radius and for which an adversarial image was found; those
            that the model gets wrong have neither.
        count: images whose estimated radius exceeds the attacked distance.
        indices: those images, the worst crossing first.
        worst_ratio: largest radius / distance among them; 0 without a crossing.
        quantity: "radius", or "deviation" if the estimate is gamma or the bound of the loss from it
            and adversarial images, or another search, show larger values; the ratio is then value
            / estimate.
        worst_radius: radius of the worst crossing, pixel units; NaN without one, and for
            deviations.
        worst_distance: distance there.
        kind: whether the radius is estimated or certified.
        proven: whether it is certified without probability, so that each violation is a
            contradiction; a radius equal to the distance is one too.
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
    worst_radius: float = float("nan")
    worst_distance: float = float("nan")
    kind: Kind = Kind.ESTIMATED
    proven: bool = False

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {**asdict(self), "indices": list(self.indices), "kind": str(self.kind)}


def comparisons(store: ResultStore) -> tuple[Comparison, ...]:
    """Every estimated radius in ``store`` against every attacked distance of its norm.

    And every certified radius: of the base classifier against the same distances, of a smoothed
    classifier against the attacked distances of that classifier.
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
    return (*estimated, *_deviations(store), *certified, *_proven(store))


def _proven(store: ResultStore) -> Iterator[Comparison]:
    """Every certified radius of the base classifier against every attacked distance of its norm."""
    for verified in store.existing("verify"):
        norm = verified.settings["norm"]
        attacks = [
            table
            for schema in ("attack", "transfer")
            for table in store.existing(schema)
            if table.settings["norm"] == norm
        ]
        for attack in attacks:
            yield _compared_proven(store, verified, _Named(attack.path, _farthest(attack)))
        for other in store.existing("verify"):
            if other.settings["norm"] == norm and np.isfinite(own := _met(other, attacks)).any():
                yield _compared_proven(store, verified, _Named(other.path, own))
        yield from _checked(store, verified)


def _checked(store: ResultStore, verified: AnalysisGroup) -> Iterator[Comparison]:
    """Certified radii that the masking check refutes; one that it does not is no comparison."""
    for schema in CHECKS:
        for table in store.existing(schema):
            if ball_of(table)[0] == verified.settings["norm"]:
                distance = checked_distance(store, table) * (1 + ATTACKED_AT_RADIUS)
                found = _compared_proven(store, verified, _Named(table.path, distance))
                if found.count:
                    yield found


def _farthest(attack: AnalysisGroup) -> NDArray[np.float64]:
    """Attacked distances, rounded up where they are those of a searched radius."""
    distance = np.asarray(attack.column("distance"), dtype=np.float64)
    settings = attack.settings
    searched = [*(settings.get("radii") or ()), *(settings.get("reported_radii") or ())]
    return np.where(np.isin(distance, searched), distance * (1 + ATTACKED_AT_RADIUS), distance)


def _met(verified: AnalysisGroup, attacks: Sequence[AnalysisGroup]) -> NDArray[np.float64]:
    """Distances of counterexamples that proofs met; NaN where attacks found one as near."""
    distance = np.asarray(verified.column("distance"), dtype=np.float64)
    for attack in attacks:
        distance = np.where(attack.column("distance") <= distance, np.nan, distance)
    return distance


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
    def contradictions(self) -> tuple[Comparison, ...]:
        """Comparisons in which an adversarial image lies within a proven radius."""
        return tuple(one for one in self.comparisons if one.proven and one.count)

    def require_sound(self) -> None:
        """Raise if an adversarial image lies within a proven radius.

        Raises:
            ContradictionError: one does.
        """
        if not self.contradictions:
            return
        worst = max(self.contradictions, key=lambda one: one.worst_ratio)
        message = (
            f"image {worst.indices[0]} is certified to the {worst.norm} radius "
            f"{worst.worst_radius:.9g} ({worst.estimate}), and an adversarial image of it is at "
            f"the distance {worst.worst_distance:.9g} ({worst.attack}): this is a fault of robcert"
        )
        hint = "please report it with the model and the images; trust no certificate of this file"
        raise ContradictionError(message, hint=hint)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        if self.compared == 0:
            if self.comparisons:
                return "nothing to compare: no image has both an estimate and an adversarial image"
            return "nothing to compare: the file holds no estimates and attacks in one norm"
        radii = [one for one in self.comparisons if one.quantity == "radius"]
        deviations = [one for one in self.comparisons if one.quantity == "deviation"]
        estimated = [
            _said_of(radii, "estimated radii", Kind.ESTIMATED),
            _said_of_deviations(deviations),
        ]
        certified = [
            _said_of(radii, "certified radii of the smoothed classifier", Kind.CERTIFIED),
            _said_of(radii, "certified radii of the model itself", Kind.CERTIFIED, proven=True),
        ]
        estimates = sum(one.count for one in self.comparisons if one.kind is Kind.ESTIMATED)
        wrong = ": there the estimate is wrong" if estimates else ""
        fault = ": this is a fault of robcert" if self.contradictions else ""
        said = (", ".join(filter(None, estimated)) + wrong, ", ".join(filter(None, certified)))
        return "; ".join(filter(None, said)) + fault

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


def _said_of(
    comparisons: Sequence[Comparison], radii: str, kind: Kind, *, proven: bool = False
) -> str:
    """Violations among the ``radii`` of one kind in words; empty if none was compared."""
    some = [one for one in comparisons if one.kind is kind and one.proven is proven]
    count, compared = sum(one.count for one in some), sum(one.compared for one in some)
    if not compared:
        return ""
    if not count:
        return f"none of {compared} {radii} exceeds its attacked distance"
    exceed = "exceeds" if count == 1 else "exceed"
    return f"{count} of {compared} {radii} {exceed} the distance of an adversarial image"


def _said_of_deviations(some: Sequence[Comparison]) -> str:
    """Violations of γ and of the bound from it in words; empty if none was compared."""
    count, compared = sum(one.count for one in some), sum(one.compared for one in some)
    if not compared:
        return ""
    be = "is" if count <= 1 else "are"
    which = f"{count or 'none'} of {compared} values of γ and of its bound"
    return f"{which} {be} below what an adversarial image or another search shows"


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
        if settings["sided"] == "two":
            yield from _changes(store, group)


def _changes(store: ResultStore, group: AnalysisGroup) -> Iterator[Comparison]:
    """The bound of the loss from gamma against what other searches for gamma ended at."""
    epsilon = group.settings["epsilon"]
    reach = epsilon * group.column("gradient_dual_norm")
    bound = np.asarray(reach + group.column("gamma"), dtype=np.float64)
    for one in other_searches(store, group):
        yield _deviation(
            store,
            _Named(f"{group.path}:loss_bound", bound),
            _Named(one.table, np.where(one.within(epsilon), np.abs(one.change), np.nan)),
            rounding=np.fmax(group.column("floor"), one.floor),
            norm=str(group.settings["norm"]),
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
    found = _comparison(store, certified, _Named(attack.path, distance), norm="l2")
    return replace(found, kind=Kind.CERTIFIED)


def _compared_proven(store: ResultStore, verified: AnalysisGroup, attacked: _Named) -> Comparison:
    """Certificates of the base classifier: a radius that equals the distance is a crossing too."""
    radius = np.asarray(verified.column("radius"), dtype=np.float64)
    radius = np.where(radius > 0, radius, np.nan)  # 0 claims nothing
    certified, norm = _Named(f"{verified.path}:radius", radius), str(verified.settings["norm"])
    crossing = radius >= attacked.values
    found = _comparison(store, certified, attacked, norm=norm, crossing=crossing)
    return replace(found, kind=Kind.CERTIFIED, proven=True)


def _comparison(
    store: ResultStore,
    estimate: _Named,
    attack: _Named,
    *,
    norm: str,
    margin: str = "",
    crossing: NDArray[np.bool_] | None = None,
) -> Comparison:
    """The radii ``estimate`` against the distances ``attack``.

    Args:
        store: the results file.
        estimate: radii.
        attack: distances.
        norm: norm of both.
        margin: margin that the radii are about; empty for others.
        crossing: where a radius is refuted; None for where it exceeds the distance.
    """
    radius, distance = estimate.values, attack.values
    known = ~np.isnan(radius) & np.isfinite(distance) & ((radius > 0) | (distance > 0))
    crossing = known & (crossings(radius, distance) if crossing is None else crossing)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(crossing, radius / distance, 0.0)  # inf for an infinite radius
    order = np.argsort(-ratio, kind="stable")[: int(crossing.sum())]
    worst = order[0] if len(order) else None
    return Comparison(
        estimate=estimate.name,
        attack=attack.name,
        norm=norm,
        margin=margin,
        compared=int(known.sum()),
        count=int(crossing.sum()),
        indices=tuple(int(index) for index in store.indices[order]),
        worst_ratio=float(ratio.max(initial=0.0)),
        worst_radius=float("nan") if worst is None else float(radius[worst]),
        worst_distance=float("nan") if worst is None else float(distance[worst]),
    )
