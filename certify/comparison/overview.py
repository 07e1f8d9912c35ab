"""Several models on the same images side by side: the headline numbers of each results file."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.attacks import AttackSummary, reach, share_at
from robcert.certify.auditing import CleanSummary, audit_record, labelled, latest, of_kind, results
from robcert.certify.local_linearity import LinearitySummary
from robcert.certify.masking import MaskingSummary
from robcert.certify.radius_bounds import BoundsSummary
from robcert.certify.smoothing import SmoothingSummary
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.attacks import RobustAccuracy
    from robcert.certify.smoothing import CertifiedAccuracy
    from robcert.certify.store import AnalysisGroup, ResultStore
    from robcert.certify.tables import Share


@dataclass(frozen=True, slots=True)
class AccuracyInterval:
    """An accuracy with its 95 % interval; ``n`` images, None where the summary does not say."""

    value: float
    lower: float
    upper: float
    n: int | None

    @classmethod
    def of(cls, share: Share | None) -> AccuracyInterval | None:
        """``share``; None where nothing was observed."""
        if share is None or math.isnan(share.value):
            return None
        return cls(share.value, share.lower, share.upper, getattr(share, "n", None))


@dataclass(frozen=True, slots=True)
class CertifiedCurve:
    """Certified accuracy of one smoothing run by radius."""

    sigma: float
    name: str
    points: tuple[CertifiedAccuracy, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """What one results file says, one number of each kind; None where it does not say.

    Attributes:
        model: name of the model's file.
        results: path of the results file.
        labelled: whether the images carry labels; else all is about stability.
        images: images in the file.
        clean: measured: clean accuracy.
        attacked: attacked: accuracy that the suite of attacks leaves at ``epsilon``.
        epsilon: its radius, pixel units.
        norm: its norm, and that of the estimates.
        distance: attacked: median distance of the nearest adversarial image.
        gamma: estimated: mean local linearity error.
        margin: whose margin the two bounds are about, logit or prob.
        l_bound: estimated: mean radius by the Lipschitz constant.
        omega_bound: estimated: mean radius by the gradient's modulus of continuity.
        certified: certified: accuracy of the smoothed classifier at ``radius``.
        radius: its l2 radius, the smallest above 0 that the file has.
        certified_curves: certified: one a smoothing run, sigma and certified accuracy by radius.
        masking: verdict of the masking check.
        seconds: measured: time of the audit; None for files made otherwise.
    """

    model: str
    results: str
    labelled: bool
    images: int
    clean: AccuracyInterval | None
    attacked: AccuracyInterval | None
    epsilon: float | None
    norm: str | None
    distance: float | None
    gamma: float | None
    margin: str | None
    l_bound: float | None
    omega_bound: float | None
    certified: AccuracyInterval | None
    radius: float | None
    certified_curves: tuple[CertifiedCurve, ...]
    masking: str | None
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(asdict(self)))


def overview(store: ResultStore, *, epsilon: float | None = None) -> Overview:
    """Headline numbers of ``store``, of the latest run of each analysis.

    Args:
        store: results of one model.
        epsilon: distance of the attacked accuracy, pixel units; None for the one that the attacks
            were made for.
    """
    found = results(store)
    clean, gamma, bounds, smoothing, masking = (
        latest(found, CleanSummary)[0],
        latest(found, LinearitySummary)[0],
        latest(found, BoundsSummary)[0],
        latest(found, SmoothingSummary)[0],
        latest(found, MaskingSummary)[0],
    )
    attack, group = latest(found, AttackSummary)
    attacked = None if attack is None or group is None else _attacked(attack, group, epsilon)
    radii = (
        [entry for entry in smoothing.certified_accuracy if entry.radius > 0] if smoothing else []
    )
    certified = min(radii, key=lambda entry: entry.radius, default=None)
    seconds = audit_record(store).get("seconds")
    return Overview(
        model=str(store.model["file"]),
        results=str(store.path),
        labelled=labelled(store),
        images=len(store.indices),
        clean=AccuracyInterval.of(clean.clean_accuracy if clean else None),
        attacked=AccuracyInterval.of(attacked),
        epsilon=attacked.epsilon if attacked else None,
        norm=attack.norm if attack else None,
        distance=attack.median_distance if attack else None,
        gamma=_known(gamma.gamma.mean) if gamma else None,
        margin=bounds.margin if bounds else None,
        l_bound=_mean_radius(bounds, "l_bound"),
        omega_bound=_mean_radius(bounds, "omega_bound"),
        certified=AccuracyInterval.of(certified),
        radius=certified.radius if certified else None,
        certified_curves=tuple(
            CertifiedCurve(run.sigma, smoothed_name(run), run.certified_accuracy)
            for run, _ in of_kind(found, SmoothingSummary)
        ),
        masking=str(masking.verdict) if masking else None,
        seconds=sum(seconds.values()) if seconds else None,
    )


def smoothed_name(run: SmoothingSummary) -> str:
    """What tells one smoothing run of a model from the others."""
    return f"σ = {run.sigma:g}" + ("" if run.precision == "float32" else f", {run.precision}")


def names(rows: Sequence[Overview]) -> list[str]:
    """What tells the models apart: their files' names, or those of the results if they coincide."""
    files = [row.model for row in rows]
    return files if len(set(files)) == len(files) else [Path(row.results).stem for row in rows]


def overview_table(rows: Sequence[Overview]) -> Table:
    """One row a model; every column says what it claims."""
    first = rows[0]
    ball = f"{pixel(first.epsilon)} {first.norm or ''}".strip()
    header = (
        *("model", "clean measured", f"{ball} attacked", "γ estimated"),
        *("L-bound estimated", "ω-bound estimated", f"{decimal(first.radius)} l2 certified"),
        *("masking check", "audit, s"),
    )
    note = (
        "clean, attacked and certified: accuracies, the last of the smoothed classifier; γ and "
        "bounds: means over the images, bounds in pixel units of [0, 1]; s: seconds, measured."
    )
    if len({(row.epsilon, row.norm, row.radius) for row in rows}) > 1:
        note += " The files do not share one radius: the header names that of the first."
    margins = dict.fromkeys(margin_name(row.margin) for row in rows if row.margin)
    if len(margins) > 1 or "probability margin" in margins:
        told = zip(names(rows), rows, strict=True)
        each = (f"{name} {margin_name(row.margin)}" for name, row in told if row.margin)
        note += f" Bounds: {', '.join(each)}."
    if not all(row.labelled for row in rows):
        note += f" {UNLABELLED}"
    cells = tuple((name, *_cells(row)) for name, row in zip(names(rows), rows, strict=True))
    return Table("side by side", "", header, cells, note)


def _cells(row: Overview) -> tuple[str, ...]:
    return (
        *(percent(share.value if share else None) for share in (row.clean, row.attacked)),
        *(decimal(v, 3) for v in (row.gamma, row.l_bound, row.omega_bound)),
        percent(row.certified.value if row.certified else None),
        row.masking or DASH,
        decimal(row.seconds, 3),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean_radius(bounds: BoundsSummary | None, name: str) -> float | None:
    return _known(bounds.radius[name].mean) if bounds and name in bounds.radius else None


def _attacked(
    attack: AttackSummary, group: AnalysisGroup, epsilon: float | None
) -> RobustAccuracy | None:
    """Accuracy at ``epsilon``, by default at the radius that the attacks were made for."""
    radius = attack.headline_epsilon if epsilon is None else epsilon
    indices = group.indices
    distance = group.column("distance", indices[group.computed(indices)])
    within = reach(group, radius)
    return share_at(distance > within, radius) if len(distance) else None
