"""The main numbers of several models on the same images, one results file each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from robcert.certify import (
    attacks,
    local_linearity,
    masking,
    radius_bounds,
    smoothing,
    verification,
)
from robcert.certify.attacks import (
    ATTACK,
    distance_limit,
    distances_per_attack,
    share_at,
    survives,
)
from robcert.certify.auditing import (
    CLEAN,
    audit_record,
    labelled,
    summarise_clean,
    with_check,
)
from robcert.certify.local_linearity import LINEARITY
from robcert.certify.masking import MASKING
from robcert.certify.radius_bounds import BOUNDS
from robcert.certify.smoothing import SMOOTHING
from robcert.certify.store import plain
from robcert.certify.verification import VERIFY

from .common_ball import searched, tells

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from robcert.certify.masking import MaskingSummary
    from robcert.certify.smoothing import CertifiedAccuracy, SmoothingSummary
    from robcert.certify.stats import Proportion
    from robcert.certify.store import AnalysisGroup, ResultStore, Schema

    S = TypeVar("S")


class Estimate(Protocol):
    """A proportion with its interval, as in the summaries."""

    @property
    def value(self) -> float:
        """Observed proportion."""

    @property
    def lower(self) -> float:
        """Lower limit."""

    @property
    def upper(self) -> float:
        """Upper limit."""


@dataclass(frozen=True, slots=True)
class AccuracyInterval:
    """An accuracy with its 95 % interval.

    Attributes:
        value: observed share of images.
        lower: lower limit.
        upper: upper limit.
        n: number of images; None if the summary does not hold it.
    """

    value: float
    lower: float
    upper: float
    n: int | None = None

    @classmethod
    def of(cls, estimate: Estimate | None, n: int | None = None) -> AccuracyInterval | None:
        """The interval of ``estimate``; None if there is no value."""
        if estimate is None or not math.isfinite(estimate.value):
            return None
        return cls(estimate.value, estimate.lower, estimate.upper, n)


@dataclass(frozen=True, slots=True)
class CertifiedCurve:
    """Certified accuracy of one smoothed classifier by radius.

    Attributes:
        sigma: its noise level, pixel units.
        name: settings that distinguish it from other smoothed classifiers of the model.
        points: certified accuracy, by l2 radius.
    """

    sigma: float
    name: str
    points: tuple[CertifiedAccuracy, ...]

    @classmethod
    def of(cls, run: SmoothingSummary) -> CertifiedCurve:
        """The curve of one smoothing run."""
        precision = "" if run.precision == "float32" else f", {run.precision}"
        return cls(run.sigma, f"σ = {run.sigma:g}{precision}", run.certified_accuracy)


@dataclass(frozen=True, slots=True)
class Overview:
    """The main numbers of one results file, one of each kind; None where the file has none.

    Attributes:
        model: name of the model's file.
        results: path of the results file.
        labelled: whether the images have labels; if not, all numbers are about stability.
        images: number of images in the file.
        clean: measured: clean accuracy.
        attacked: attacked: robust accuracy at ``epsilon`` under the suite of attacks.
        per_attack: attacked: the same under each attack alone, by its name, of the last attacks
            that each ran on every image; empty if there are none.
        proven: certified: accuracy of the model itself at ``epsilon``.
        epsilon: radius of all three, pixel units.
        own_epsilon: radius that the last attacks in this norm were run for.
        by_distance: whether no attack searched within ``epsilon``, so that ``attacked`` follows
            from the smallest distances found.
        norm: its norm, and that of the estimates.
        distance: attacked: median distance of the nearest adversarial example.
        gamma: estimated: mean local linearity error.
        margin: margin of the two bounds, logit or prob.
        l_bound: estimated: mean radius by the Lipschitz constant.
        omega_bound: estimated: mean radius by the gradient's modulus of continuity.
        rho_bound: estimated: mean radius by the excess over the steepest tangent.
        certified: certified: accuracy of the smoothed classifier at ``radius``.
        radius: its l2 radius, the smallest above 0 in the file.
        certified_curves: certified: certified accuracy by radius, of each smoothing run.
        masking: verdict of the masking check.
        seconds: measured: time of the audit; None without an audit.
    """

    model: str
    results: str
    labelled: bool
    images: int
    clean: AccuracyInterval | None
    attacked: AccuracyInterval | None
    per_attack: dict[str, AccuracyInterval]
    proven: AccuracyInterval | None
    epsilon: float | None
    own_epsilon: float | None
    by_distance: bool
    norm: str | None
    distance: float | None
    gamma: float | None
    margin: str | None
    l_bound: float | None
    omega_bound: float | None
    rho_bound: float | None
    certified: AccuracyInterval | None
    radius: float | None
    certified_curves: tuple[CertifiedCurve, ...]
    masking: str | None
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain JSON."""
        return dict(plain(asdict(self)))


def overview(
    store: ResultStore, *, epsilon: float | None = None, norm: str | None = None
) -> Overview:
    """Main numbers of ``store``: the latest run of each analysis, in one norm.

    Robust accuracy and distance are those of the attack table that leaves the fewest images
    classified correctly, among the tables in that norm with the most images.

    Args:
        store: results of one model.
        epsilon: radius of the robust accuracy, pixel units; None for the one that the attacks were
            run for.
        norm: norm of attacks, estimates and certificates of the model itself; None, or a norm
            without attacks, for that of the last attack.
    """
    if norm not in attacked_norms(store):
        norm = None
    attack = _last(store, ATTACK, attacks.summarise, norm)
    norm = None if attack is None else attack.norm
    gamma = _last(store, LINEARITY, local_linearity.summarise, norm)
    bounds = _last(store, BOUNDS, radius_bounds.summarise, norm)
    check = _last(store, MASKING, masking.summarise)
    runs = tuple(smoothing.summarise(store, group.path) for group in _tables(store, SMOOTHING))
    positive = [point for point in runs[-1].certified_accuracy if point.radius > 0] if runs else []
    certified = min(positive, key=lambda point: point.radius, default=None)
    at = attack.headline_epsilon if attack is not None and epsilon is None else epsilon
    attacked, distance, by_distance = None, None, False
    if attack is not None and at is not None:
        strongest, attacked = _strongest(store, attack.norm, at, check)
        distance = attacks.summarise(store, strongest.path).median_distance
        by_distance = attacked is not None and not searched(strongest, at)
    proven = _proven(store, norm, at)
    accuracy = _clean_accuracy(store)
    l_bound, omega_bound, rho_bound = (
        None if bounds is None or name not in bounds.radius else bounds.radius[name].mean
        for name in ("l_bound", "omega_bound", "rho_bound")
    )
    seconds: dict[str, float] = audit_record(store).get("seconds") or {}
    return Overview(
        model=str(store.model["file"]),
        results=str(store.path),
        labelled=labelled(store),
        images=len(store.indices),
        clean=AccuracyInterval.of(accuracy, None if accuracy is None else accuracy.n),
        attacked=attacked,
        per_attack=_per_attack(store, norm, at),
        proven=proven,
        epsilon=at if attacked is not None or (attack is not None and proven is not None) else None,
        own_epsilon=None if attack is None else attack.headline_epsilon,
        by_distance=by_distance,
        norm=norm if norm is not None or bounds is None else bounds.norm,
        distance=distance,
        gamma=None if gamma is None else _finite(gamma.gamma.mean),
        margin=None if bounds is None else bounds.margin,
        l_bound=_finite(l_bound),
        omega_bound=_finite(omega_bound),
        rho_bound=_finite(rho_bound),
        certified=AccuracyInterval.of(certified),
        radius=None if certified is None else certified.radius,
        certified_curves=tuple(CertifiedCurve.of(run) for run in runs),
        masking=None if check is None else str(check.verdict),
        seconds=sum(seconds.values()) if seconds else None,
    )


def attacked_norms(store: ResultStore) -> list[str]:
    """Norms in which the model was attacked, that of the last attack first."""
    tables = reversed(_tables(store, ATTACK))
    return list(dict.fromkeys(str(table.settings["norm"]) for table in tables))


def _clean_accuracy(store: ResultStore) -> Proportion | None:
    """Share of images that are classified correctly, as any analysis measured it.

    That of the audit, else of the attacks or certificates on most images; None without labels.
    """
    if not labelled(store):
        return None
    clean = _last(store, CLEAN, summarise_clean)
    if clean is not None and clean.clean_accuracy is not None:
        return clean.clean_accuracy
    found = [
        attacks.summarise(store, table.path).clean_accuracy for table in _tables(store, ATTACK)
    ]
    found += [
        verification.summarise(store, table.path).clean_accuracy for table in _tables(store, VERIFY)
    ]
    return max(reversed(found), key=lambda one: one.n, default=None)


def _proven(store: ResultStore, norm: str | None, epsilon: float | None) -> AccuracyInterval | None:
    """Certified accuracy of the model itself at ``epsilon``, by certified radii; None without any.

    In one norm, of the last table.
    """
    key = _last(store, VERIFY, lambda _, path: path, norm)
    if key is None or epsilon is None:
        return None
    found = verification.certified_at(store, key, epsilon)
    return AccuracyInterval.of(found, found.n)


def _tables(store: ResultStore, schema: Schema) -> list[AnalysisGroup]:
    """Tables of ``schema`` with a finished row, the latest last."""
    return [group for group in store.existing(schema.name) if len(group.indices)]


def _last(
    store: ResultStore,
    schema: Schema,
    summarise: Callable[[ResultStore, str], S],
    norm: str | None = None,
) -> S | None:
    """Summary of the last table of ``schema`` (in ``norm``, if one is given); None without one."""
    tables = [t for t in _tables(store, schema) if norm is None or t.settings["norm"] == norm]
    return summarise(store, tables[-1].path) if tables else None


def _strongest(
    store: ResultStore, norm: str, epsilon: float, check: MaskingSummary | None
) -> tuple[AnalysisGroup, AccuracyInterval | None]:
    """The attack table with the lowest robust accuracy at ``epsilon``, and that accuracy.

    It is that of the masking check on the same images where that is lower, and None where the
    attacks of all tables were held to other radii.
    """
    tables = [table for table in _tables(store, ATTACK) if table.settings["norm"] == norm]
    most = max(len(table.indices) for table in tables)
    found = []
    for table in tables:
        indices = table.indices[table.computed(table.indices)]
        if len(table.indices) == most:
            share = share_at(survives(store, table, indices, epsilon), epsilon)
            share = with_check(share, attacks.summarise(store, table.path), check)
            known = tells(table, epsilon)
            accuracy = AccuracyInterval.of(share, len(indices)) if known else None
            found.append((not known, share.value, table, accuracy))
    *_, table, accuracy = min(reversed(found), key=lambda entry: entry[:2])
    return table, accuracy


def _per_attack(
    store: ResultStore, norm: str | None, epsilon: float | None
) -> dict[str, AccuracyInterval]:
    """Accuracy at ``epsilon`` under each attack of the last table whose attacks ran alone.

    Only tables of the most images in that norm count, as in :func:`_strongest`, and of these such
    as searched within ``epsilon``.
    """
    tables = [table for table in _tables(store, ATTACK) if table.settings["norm"] == norm]
    most = max((len(table.indices) for table in tables), default=0)
    if epsilon is None:
        return {}
    for table in reversed(tables):
        indices = table.indices[table.computed(table.indices)]
        found = distances_per_attack(table, tuple(table.attribute("attacks", ())), indices)
        if found and len(table.indices) == most and searched(table, epsilon):
            shares = [share_at(d > distance_limit(table, epsilon), epsilon) for d in found.values()]
            limits = [(share.value, share.lower, share.upper) for share in shares]
            each = (AccuracyInterval(*values, len(indices)) for values in limits)
            return dict(zip(found, each, strict=True))
    return {}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
