"""Tables of the smoothed classifier: certificates, predictions, attacks on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import (
    DASH,
    Table,
    decimal,
    in_precision,
    interval,
    percent,
    share_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .attack import SmoothingAttackSummary
    from .prediction import PredictionSummary
    from .summary import SmoothingSummary


def tables(summaries: Sequence[SmoothingSummary]) -> Iterator[Table]:
    """Tables of certification runs, one after the other."""
    for summary in summaries:
        yield _certified(summary)
        yield _course(summary)
        yield from _other_norms(summary)
        yield from _draws(summary)
        yield from _unfinished(summary)


def _certified(summary: SmoothingSummary) -> Table:
    rows = tuple(
        (
            decimal(entry.radius),
            percent(entry.value),
            interval(entry),
            percent(entry.population_lower),
        )
        for entry in summary.certified_accuracy
    )
    header = ("l2 radius", "certified accuracy", "95 % interval", "unseen images, at least")
    classifier = f"the smoothed classifier{in_precision(summary.precision)}"
    title = f"{classifier}, σ = {decimal(summary.sigma)}"
    return Table(title, "certified", header, rows, summary.guarantee)


def _course(summary: SmoothingSummary) -> Table:
    facts = (
        ("abstained", percent(summary.abstained)),
        ("certified for a wrong class", percent(summary.certified_wrong)),
        ("mean draws per image, all counted", decimal(summary.mean_samples, 6)),
        ("median draws per image, all counted", decimal(summary.median_samples, 6)),
        ("images undecided after all draws", percent(summary.share_at_cap)),
    )
    return Table("abstentions and draws", "measured", ("what", "value"), facts)


def _other_norms(summary: SmoothingSummary) -> Iterator[Table]:
    rows = tuple(
        (
            entry.norm,
            decimal(entry.average_certified_radius),
            decimal(entry.largest_certifiable),
        )
        for entry in summary.radii
    )
    if rows:
        header = ("norm", "average radius", "largest attainable")
        yield Table("the same certificates in each norm", "certified", header, rows)


def _draws(summary: SmoothingSummary) -> Iterator[Table]:
    bins = tuple(
        (f"{one.low} to {one.high}", str(one.images)) for one in summary.samples if one.images
    )
    if bins:
        yield Table("draws per image, all counted", "measured", ("draws", "images"), bins)


def _unfinished(summary: SmoothingSummary) -> Iterator[Table]:
    rows = tuple(
        (
            str(one.index),
            "abstained" if one.prediction < 0 else str(one.prediction),
            str(one.n_used),
            decimal(one.radius),
        )
        for one in summary.in_progress
    )
    if rows:
        header = ("image", "class", "draws", "l2 radius")
        yield Table("cut off by the time budget: certified so far", "certified", header, rows)


def prediction_tables(summaries: Sequence[PredictionSummary]) -> Iterator[Table]:
    """One table per run of predictions."""
    for summary in summaries:
        accuracy = share_text(summary.accuracy) if summary.accuracy else DASH
        rows = (
            ("accuracy", accuracy),
            ("abstained", percent(summary.abstained)),
            ("mean draws per image", decimal(summary.mean_samples, 6)),
        )
        title = "predictions of the smoothed classifier"
        yield Table(title, "certified", ("what", "value"), rows, summary.guarantee)


def attack_tables(summaries: Sequence[SmoothingAttackSummary]) -> Iterator[Table]:
    """One table per attack on the smoothed classifier."""
    for summary in summaries:
        rows = tuple(
            (decimal(entry.epsilon), percent(entry.value), interval(entry))
            for entry in summary.robust_accuracy
        )
        header = ("l2 distance", "not moved to another class", "95 % interval")
        note = f"{summary.guarantee} Median distance: {decimal(summary.median_distance)}."
        yield Table("the smoothed classifier under attack", "attacked", header, rows, note)
