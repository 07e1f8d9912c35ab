"""The picture that carries the verdict: accuracy against distance, every kind of claim on one axis.

All distances are in one norm. A certified l2 radius of a smoothed classifier holds in another norm
after multiplication by the factor of its summary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.auditing import contradictions
from robcert.certify.smoothing import SmoothingSummary
from robcert.certify.tables import Distances, Shares, decimal, pixel

from .figures import survival_lines
from .svg import NARROW, WIDE, curves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.auditing import Findings, Reading, Readings, Summary
    from robcert.certify.store import AnalysisGroup, ResultStore

ROOM = 1.3
"""The axis ends at this multiple of the headline's radius or later."""

READING = {
    "attacked": "The true accuracy lies on or below the attacked curve (▼)",
    "certified": "on or above the certified curve (▲)",
}


@dataclass(frozen=True, slots=True)
class MainPicture:
    """The picture for wide and for narrow screens, with its title and caption."""

    title: str
    wide: str
    narrow: str
    caption: str


def main_picture(store: ResultStore, found: Readings, said: Findings) -> MainPicture | None:
    """The picture of the tables behind the verdict; None where no table has distances."""
    norm = _norm(said)
    columns = tuple(_columns(store, found, said, norm))
    if not columns:
        return None
    shares = Shares(columns, f"size of the change ε ({norm}), pixel units of [0, 1]")
    epsilon = None if said.attack is None else said.attack.headline_epsilon
    at = None if epsilon is None else (epsilon, f"ε = {pixel(epsilon)}")
    lines = survival_lines(shares, 0.0 if epsilon is None else ROOM * epsilon)
    what = "accuracy" if said.labelled else "share of images that keep their class"
    lines = replace(lines, y_label=what if said.labelled else "share that keeps its class")
    title = f"{what.capitalize()} against the size of the change"
    wide, narrow = (curves(lines, title=title, size=size, at=at) for size in (WIDE, NARROW))
    return MainPicture(title, wide, narrow, _caption(columns, said))


def _norm(said: Findings) -> str:
    """Norm of the picture: that of the attacks, else of proofs, of bounds, of smoothing."""
    for summary in (said.attack, said.verification, said.bounds):
        if summary is not None:
            return summary.norm
    return "l2"


def _columns(store: ResultStore, found: Readings, said: Findings, norm: str) -> Iterator[Distances]:
    """Distances of every table behind the verdict that has some in ``norm``."""
    groups = (said.attack_group, said.bounds_group, said.verification_group, said.smoothing_group)
    for reading in (_reading(found, group) for group in groups):
        if reading is None:
            continue
        own = str(getattr(reading.summary, "norm", "l2"))
        factor, note = 1.0, ""
        if isinstance(reading.summary, SmoothingSummary):
            factors = [one.factor for one in reading.summary.radii if one.norm == norm]
            if not factors:
                continue
            own, factor = norm, factors[0]
            note = f", σ = {decimal(reading.summary.sigma)}"
        if own == norm:
            for column in _distances(store, reading):
                if np.isnan(column.values).all():
                    continue  # no image has such a radius
                yield replace(column, values=column.values * factor, **_named(column, note, said))


def _reading(found: Readings, group: AnalysisGroup | None) -> Reading[Summary] | None:
    paths = [] if group is None else [group.path]
    return next((one for one in found if one.group.path in paths), None)


def _distances(store: ResultStore, reading: Reading[Summary]) -> Iterator[Distances]:
    """The curves of shares among the charts of one table."""
    for chart in reading.analysis.charts(store, (reading,)):
        if isinstance(chart.content, Shares):
            yield from chart.content.columns


def _named(column: Distances, note: str, said: Findings) -> dict[str, Any]:
    """Name and style of a curve; a smoothed classifier is another one than the model."""
    if note:
        return {"name": f"the smoothed classifier{note}", "style": "smoothed"}
    if column.claim == "estimated" and _refuted(said):
        count, compared = _refuted(said)
        return {"name": f"{column.name}, refuted for {count} of {compared} images"}
    return {}


def _refuted(said: Findings) -> tuple[int, ...]:
    """Images whose drawn radius an adversarial image refutes, and images compared; or nothing."""
    if said.bounds_group is None:
        return ()
    return contradictions(said.ledger, said.bounds_group.path).get("rho_bound", ())


def _caption(columns: tuple[Distances, ...], said: Findings) -> str:
    claims = {column.claim for column in columns if column.style != "smoothed"}
    where = ", ".join(text for claim, text in READING.items() if claim in claims)
    parts = [f"{where[:1].upper()}{where[1:]}." if where else ""]
    if any(column.claim == "estimated" for column in columns):
        parts.append("The estimated curve (◆) may be wrong; above the attacked one it is.")
    if any(column.style == "smoothed" for column in columns):
        more = "" if _norm(said) != "linf" else ", converted from l2"
        parts.append(
            f"The smoothed classifier is another one, the majority vote under noise{more}."
        )
    parts.append("Bands: 95 % intervals.")
    return " ".join(part for part in parts if part)
