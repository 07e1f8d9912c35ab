"""Tables of the smoothed classifier: certificates, predictions, attacks on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import Table, decimal, in_precision, interval, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.tables import Summary


def _smoothing(summary: Summary) -> Iterator[Table]:
    for run in summary.get("runs") or [summary]:
        yield from _smoothed(run)


def _smoothed(summary: Summary) -> Iterator[Table]:
    rows = tuple(
        (
            decimal(entry["radius"]),
            percent(entry.get("value")),
            interval(entry),
            percent(entry.get("population_lower")),
        )
        for entry in summary["certified_accuracy"]
    )
    header = ("l2 radius", "certified accuracy", "95 % interval", "unseen images, at least")
    note = str(summary.get("guarantee") or "")
    title = f"the smoothed classifier{in_precision(summary)}, σ = {decimal(summary.get('sigma'))}"
    yield Table(title, "certified", header, rows, note)
    facts = tuple(
        (label, text)
        for label, text in (
            ("abstained", percent(summary.get("abstained"))),
            ("certified for a wrong class", percent(summary.get("certified_wrong"))),
            ("mean samples an image", decimal(summary.get("mean_samples"), 6)),
            ("median samples an image", decimal(summary.get("median_samples"), 6)),
            ("images that used all draws", percent(summary.get("share_at_cap"))),
        )
    )
    yield Table("how the smoothing went", "measured", ("what", "value"), facts)
    yield from _other_norms(summary)
    yield from _draws_and_cut_off(summary)


def _draws_and_cut_off(summary: Summary) -> Iterator[Table]:
    bins = tuple(
        (f"{entry['low']} to {entry['high']}", str(entry["images"]))
        for entry in summary.get("samples") or ()
        if entry["images"]
    )
    if bins:
        yield Table("draws an image took", "measured", ("draws", "images"), bins)
    cut = tuple(
        (str(e["index"]), "abstained" if e["prediction"] < 0 else str(e["prediction"]),
         str(e["n_used"]), decimal(e["radius"]))
        for e in summary.get("in_progress") or ()
    )  # fmt: skip
    if cut:
        header = ("image", "class", "draws", "l2 radius")
        yield Table("cut off by the time budget, so far", "certified", header, cut)


def _other_norms(summary: Summary) -> Iterator[Table]:
    rows = tuple(
        (
            entry["norm"],
            decimal(entry["average_certified_radius"]),
            decimal(entry["largest_certifiable"]),
        )
        for entry in summary.get("radii") or ()
    )
    if rows:
        header = ("norm", "average radius", "largest within reach")
        yield Table("the same certificates in each norm", "certified", header, rows)


def _prediction(summary: Summary) -> Iterator[Table]:
    accuracy = summary.get("accuracy") or {}
    rows = (
        ("accuracy", f"{percent(accuracy.get('value'))} {interval(accuracy)}"),
        ("abstained", percent(summary.get("abstained"))),
        ("mean samples an image", decimal(summary.get("mean_samples"), 6)),
    )
    note = str(summary.get("guarantee") or "")
    yield Table("predictions of the smoothed model", "certified", ("what", "value"), rows, note)


def _smoothing_attack(summary: Summary) -> Iterator[Table]:
    rows = tuple(
        (decimal(entry["epsilon"]), percent(entry.get("value")), interval(entry))
        for entry in summary["robust_accuracy"]
    )
    header = ("l2 distance", "not moved to another class", "95 % interval")
    note = f"{summary['guarantee']} Median distance: {decimal(summary.get('median_distance'))}."
    yield Table("the smoothed classifier under attack", "attacked", header, rows, note)
