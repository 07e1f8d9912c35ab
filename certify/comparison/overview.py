"""Several models on the same images side by side: the headline numbers of each results file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.attacks import reach, share_at
from robcert.certify.auditing import audit_record, labelled, latest, results
from robcert.certify.tables import (
    DASH,
    UNLABELLED,
    Summary,
    Table,
    decimal,
    margin_name,
    percent,
    pixel,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.auditing import Result
    from robcert.certify.store import ResultStore

Share = dict[str, Any]
"""A proportion as JSON: value, lower, upper, n."""

Curve = dict[str, Any]
"""Certified accuracy of one smoothing run by radius, as JSON."""


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
    clean: Share | None
    attacked: Share | None
    epsilon: float | None
    norm: str | None
    distance: float | None
    gamma: float | None
    margin: str | None
    l_bound: float | None
    omega_bound: float | None
    certified: Share | None
    radius: float | None
    certified_curves: tuple[Curve, ...]
    masking: str | None
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)


def overview(store: ResultStore, *, epsilon: float | None = None) -> Overview:
    """Headline numbers of ``store``, of the latest run of each analysis.

    Args:
        store: results of one model.
        epsilon: distance of the attacked accuracy, pixel units; None for the one that the attacks
            were made for.
    """
    found = results(store)
    clean, gamma, bounds, smoothing, masking = (
        _summary(latest(found, name))
        for name in ("clean", "linearity", "bounds", "smoothing", "masking")
    )
    by_attack = latest(found, "attack")
    attack, attacked = _summary(by_attack), _attacked(by_attack, epsilon)
    radii = [entry for entry in smoothing.get("certified_accuracy", ()) if entry["radius"] > 0]
    certified = min(radii, key=lambda entry: entry["radius"], default=None)
    radius = bounds.get("radius") or {}
    seconds = audit_record(store).get("seconds")
    return Overview(
        model=str(store.model["file"]),
        results=str(store.path),
        labelled=labelled(store),
        images=len(store.indices),
        clean=_share(clean.get("clean_accuracy")),
        attacked=_share(attacked),
        epsilon=(attacked or {}).get("epsilon"),
        norm=attack.get("norm"),
        distance=attack.get("median_distance"),
        gamma=(gamma.get("gamma") or {}).get("mean"),
        margin=bounds.get("margin"),
        l_bound=(radius.get("l_bound") or {}).get("mean"),
        omega_bound=(radius.get("omega_bound") or {}).get("mean"),
        certified=_share(certified),
        radius=(certified or {}).get("radius"),
        certified_curves=tuple(
            {"sigma": run["sigma"], "name": smoothed_name(run), "points": run["certified_accuracy"]}
            for run in (one.summary for one in found if one.analysis == "smoothing")
        ),
        masking=masking.get("verdict"),
        seconds=sum(seconds.values()) if seconds else None,
    )


def smoothed_name(run: Summary) -> str:
    """What tells one smoothing run of a model from the others."""
    precision = run.get("precision", "float32")
    return f"σ = {run['sigma']:g}" + ("" if precision == "float32" else f", {precision}")


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
    margins = dict.fromkeys(margin_name({"margin": row.margin}) for row in rows if row.margin)
    if len(margins) > 1 or "probability margin" in margins:
        told = zip(names(rows), rows, strict=True)
        each = (f"{name} {margin_name({'margin': row.margin})}" for name, row in told if row.margin)
        note += f" Bounds: {', '.join(each)}."
    if not all(row.labelled for row in rows):
        note += f" {UNLABELLED}"
    cells = tuple((name, *_cells(row)) for name, row in zip(names(rows), rows, strict=True))
    return Table("side by side", "", header, cells, note)


def _cells(row: Overview) -> tuple[str, ...]:
    return (
        *(percent((share or {}).get("value")) for share in (row.clean, row.attacked)),
        *(decimal(v, 3) for v in (row.gamma, row.l_bound, row.omega_bound)),
        percent((row.certified or {}).get("value")),
        row.masking or DASH,
        decimal(row.seconds, 3),
    )


def _summary(result: Result | None) -> Summary:
    return {} if result is None else result.summary


def _attacked(result: Result | None, epsilon: float | None) -> dict[str, Any] | None:
    """Accuracy at ``epsilon``, by default at the radius that the attacks were made for."""
    if result is None:
        return None
    radius = result.summary["headline_epsilon"] if epsilon is None else epsilon
    indices = result.group.indices
    distance = result.group.column("distance", indices[result.group.computed(indices)])
    within = reach(result.group, radius)
    return asdict(share_at(distance > within, radius)) if len(distance) else None


def _share(entry: dict[str, Any] | None) -> Share | None:
    if not entry or entry.get("value") is None:
        return None
    return {key: entry.get(key) for key in ("value", "lower", "upper", "n")}
