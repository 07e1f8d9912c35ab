"""Tables of `robcert verify`: the bracket of robust accuracy, certified radii, time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, Table, decimal, interval, percent, pixel, share_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .summary import AccuracyBracket, VerificationSummary


def tables(summaries: Sequence[VerificationSummary]) -> Iterator[Table]:
    """The bracket, what stayed open, the radii and the course of each run."""
    for summary in summaries:
        yield _brackets(summary)
        if any(entry.why for entry in summary.robust_accuracy):
            yield _unfinished(summary)
        yield _radii(summary)
        yield _course(summary)


def between(entry: AccuracyBracket) -> str:
    """A bracket in words: ``between 61.0 % (certified) and 64.0 % (attacked)``."""
    if entry.width == 0:
        return f"{percent(entry.certified)} exactly (certified and attacked agree)"
    return (
        f"between {percent(entry.certified)} (certified) and {percent(entry.attacked)} (attacked)"
    )


def _brackets(summary: VerificationSummary) -> Table:
    pairs = zip(summary.certified_accuracy, summary.robust_accuracy, strict=True)
    rows = tuple(
        (
            pixel(proven.epsilon),
            percent(proven.value),
            interval(proven),
            percent(entry.attacked),
            percent(entry.width),
            _open(entry),
        )
        for proven, entry in sorted(pairs, key=lambda pair: pair[0].epsilon)
    )
    header = ("ε", "certified, at least", "95 % interval", "attacked, at most", "width", "open")
    note = f"{summary.guarantee} Without attack: {share_text(summary.clean_accuracy)}."
    if any(entry.width for entry in summary.robust_accuracy):
        note += " Open: images that are neither certified nor broken, by reason."
    title = f"robust accuracy of the model itself, from below and above ({summary.norm})"
    return Table(title, "certified", header, rows, note)


def _open(entry: AccuracyBracket) -> str:
    """Open images of a bracket by reason."""
    counts = (f"{count} {reason}" for reason, count in entry.open.items() if count)
    return ", ".join(counts) or DASH


def _unfinished(summary: VerificationSummary) -> Table:
    """How far the proofs of open images came, and what may decide them."""
    counts: dict[tuple[str, str, str], list[str]] = {}
    for entry in sorted(summary.robust_accuracy, key=lambda entry: entry.epsilon):
        for one in entry.why:
            what = (one.reason, one.reached or DASH, one.ended)
            counts.setdefault(what, []).append(f"{one.images} at {pixel(entry.epsilon)}")
    rows = tuple((*what, ", ".join(images)) for what, images in counts.items())
    header = ("open for", "complete bounds", "proofs ended", "images")
    title = f"open images ({summary.norm})"
    return Table(title, "measured", header, rows, " ".join(summary.advice))


def _radii(summary: VerificationSummary) -> Table:
    radius = summary.radius
    rows = (
        ("mean, 0 where misclassified", pixel(radius.mean)),
        ("median, 0 where misclassified", pixel(radius.median)),
        ("largest", pixel(radius.largest)),
        ("images with a radius above 0", f"{radius.positive} of {summary.n}"),
        ("median gap to the attacked distance", pixel(radius.median_gap)),
    )
    title = f"certified radii of the model itself ({summary.norm})"
    return Table(title, "certified", ("what", "value"), rows)


def _course(summary: VerificationSummary) -> Table:
    by_method = ", ".join(f"{name} {count}" for name, count in summary.by_method.items() if count)
    rows = [
        ("arithmetic", summary.arithmetic),
        ("images by the method of their radius", by_method or DASH),
        ("seconds per image", f"{decimal(summary.seconds.mean, 3)} of {summary.budget:g}"),
        ("of these for the largest radius", decimal(summary.seconds.radius, 3)),
        ("seconds of the slowest image", decimal(summary.seconds.longest, 3)),
        ("images that the budget ended", f"{summary.timed_out} of {summary.n}"),
        ("regions bounded per image", decimal(summary.mean_branches)),
    ]
    if summary.seconds.attack:
        rows.insert(5, ("seconds of the attacks per image", decimal(summary.seconds.attack, 3)))
    note = ""
    if summary.timed_out:
        note = "Where the budget ended the proofs, another run may certify more or less."
    title = f"proofs ({summary.norm})"
    return Table(title, "measured", ("what", "value"), tuple(rows), note)
