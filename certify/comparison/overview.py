"""The main numbers of several models on the same images, one results file each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from robcert.certify import (
    attacks,
    local_linearity,
    masking,
    radius_bounds,
    smoothing,
    verification,
)
from robcert.certify.attacks import ATTACK, share_at, survives
from robcert.certify.auditing import (
    CLEAN,
    SAME_RADIUS,
    audit_record,
    labelled,
    summarise_clean,
)
from robcert.certify.local_linearity import LINEARITY
from robcert.certify.masking import MASKING
from robcert.certify.radius_bounds import BOUNDS
from robcert.certify.smoothing import SMOOTHING
from robcert.certify.store import plain
from robcert.certify.tables import (
    DASH,
    UNLABELLED,
    Table,
    decimal,
    margin_name,
    percent,
    pixel,
)
from robcert.certify.verification import VERIFY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from robcert.certify.smoothing import CertifiedAccuracy, SmoothingSummary
    from robcert.certify.store import AnalysisGroup, ResultStore, Schema
    from robcert.certify.verification import VerificationSummary

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
        proven: certified: accuracy of the model itself at ``epsilon``.
        epsilon: radius of both, pixel units.
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
    proven: AccuracyInterval | None
    epsilon: float | None
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


def overview(store: ResultStore, *, epsilon: float | None = None) -> Overview:
    """Main numbers of ``store``: the latest run of each analysis, in the norm of the last attack.

    Robust accuracy and distance are those of the attack table that leaves the fewest images
    classified correctly, among the tables in that norm with the most images.

    Args:
        store: results of one model.
        epsilon: radius of the robust accuracy, pixel units; None for the one that the attacks were
            run for.
    """
    clean = _last(store, CLEAN, summarise_clean)
    attack = _last(store, ATTACK, attacks.summarise)
    norm = None if attack is None else attack.norm
    gamma = _last(store, LINEARITY, local_linearity.summarise, norm)
    bounds = _last(store, BOUNDS, radius_bounds.summarise, norm)
    check = _last(store, MASKING, masking.summarise)
    runs = tuple(smoothing.summarise(store, group.path) for group in _tables(store, SMOOTHING))
    positive = [point for point in runs[-1].certified_accuracy if point.radius > 0] if runs else []
    certified = min(positive, key=lambda point: point.radius, default=None)
    at = attack.headline_epsilon if attack is not None and epsilon is None else epsilon
    attacked, distance = None, None
    if attack is not None and at is not None:
        strongest, attacked = _strongest(store, attack.norm, at)
        distance = attacks.summarise(store, strongest.path).median_distance
    accuracy = None if clean is None else clean.clean_accuracy
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
        proven=_proven(_last(store, VERIFY, verification.summarise, norm), at),
        epsilon=None if attacked is None else at,
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


def _proven(proofs: VerificationSummary | None, epsilon: float | None) -> AccuracyInterval | None:
    """Certified accuracy of the model itself at ``epsilon``; None where it was not decided."""
    if proofs is None or epsilon is None:
        return None
    near = [one for one in proofs.certified_accuracy if abs(one.epsilon - epsilon) <= SAME_RADIUS]
    return AccuracyInterval.of(near[0], near[0].n) if near else None


def names(rows: Sequence[Overview]) -> list[str]:
    """Names of the models: their file names, or those of the results files if two coincide."""
    files = [row.model for row in rows]
    return files if len(set(files)) == len(files) else [Path(row.results).stem for row in rows]


def overview_table(rows: Sequence[Overview]) -> Table:
    """Table with one row per model; every column names its kind of claim.

    Certified accuracies of the models themselves have a column if a file holds any.
    """
    first, proven = rows[0], any(row.proven for row in rows)
    ball = f"{pixel(first.epsilon)} {first.norm or ''}".strip()
    header = (
        *("model", "clean measured", *([f"{ball} certified"] if proven else [])),
        *(
            f"{ball} attacked",
            "γ estimated",
            "ρ-bound estimated",
            "L-bound estimated",
            "ω-bound estimated",
        ),
        *(f"{decimal(first.radius)} l2 certified, smoothed", "masking check", "audit, s"),
    )
    note = (
        "clean, attacked, certified: accuracies; the one called smoothed is that of the smoothed "
        "classifier. γ and bounds: means over the images, bounds in pixel units of [0, 1]. "
        "s: seconds, measured."
    )
    if proven:
        note += " The robust accuracy of a model lies between its certified and its attacked one."
    if len({(row.epsilon, row.norm, row.radius) for row in rows}) > 1:
        note += (
            " The files have different radii: the header gives that of the first, a cell its own."
        )
    margins = dict.fromkeys(margin_name(row.margin) for row in rows if row.margin)
    if len(margins) > 1 or "probability margin" in margins:
        by_name = zip(names(rows), rows, strict=True)
        each = [f"{name} {margin_name(r.margin)}" for name, r in by_name if r.margin]
        note += f" Bounds: {', '.join(each)}."
    if not all(row.labelled for row in rows):
        note += f" {UNLABELLED}"
    cells = tuple(
        (name, *_cells(row, first, proven=proven))
        for name, row in zip(names(rows), rows, strict=True)
    )
    return Table("models", "", header, cells, note)


def _cells(row: Overview, first: Overview, *, proven: bool) -> tuple[str, ...]:
    """Cells of a row; what is about another ball than the header's names its own."""
    same = (row.epsilon, row.norm) == (first.epsilon, first.norm)
    own = "" if same else f" at {pixel(row.epsilon)} {row.norm or ''}".rstrip()
    shares = (*([row.proven] if proven else []), row.attacked)
    return (
        percent(None if row.clean is None else row.clean.value),
        *(DASH if share is None else f"{percent(share.value)}{own}" for share in shares),
        *(decimal(value, 3) for value in (row.gamma, row.rho_bound, row.l_bound, row.omega_bound)),
        percent(None if row.certified is None else row.certified.value),
        row.masking or DASH,
        decimal(row.seconds, 3),
    )


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
    store: ResultStore, norm: str, epsilon: float
) -> tuple[AnalysisGroup, AccuracyInterval | None]:
    """The attack table with the lowest robust accuracy at ``epsilon``, and that accuracy."""
    tables = [table for table in _tables(store, ATTACK) if table.settings["norm"] == norm]
    most = max(len(table.indices) for table in tables)
    found = []
    for table in tables:
        indices = table.indices[table.computed(table.indices)]
        if len(table.indices) == most:
            share = share_at(survives(store, table, indices, epsilon), epsilon)
            found.append((share.value, table, AccuracyInterval.of(share, len(indices))))
    _, table, accuracy = min(reversed(found), key=lambda entry: entry[0])
    return table, accuracy


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
