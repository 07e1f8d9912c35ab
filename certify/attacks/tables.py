"""Tables of attacks, of transfer between models and of random changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import Table, decimal, interval, percent, pixel, share_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .corruption import CorruptionSummary
    from .summary import AttackSummary, RobustAccuracy
    from .transfer_analysis import TransferSummary


def tables(summaries: Sequence[AttackSummary]) -> Iterator[Table]:
    """Accuracy under attack, targeted success, rounding, and which attack came nearest."""
    for summary in summaries:
        yield _accuracy(summary)
        yield from _targeted(summary)
        if rounded := summary.eight_bit:
            counts = (str(rounded.survives), str(rounded.lost))
            header = ("adversarial still", "lost")
            title = f"after rounding to 8 bits ({summary.norm})"
            yield Table(title, "attacked", header, (counts,))
        if summary.by_attack:
            rows = tuple((name, str(images)) for name, images in summary.by_attack.items())
            title = f"nearest found by ({summary.norm})"
            yield Table(title, "attacked", ("attack", "images"), rows)


def _accuracy(summary: AttackSummary) -> Table:
    clean = summary.clean_accuracy
    rows: list[tuple[str, ...]] = []
    if clean.n:
        rows.append((pixel(0.0), percent(clean.value), interval(clean)))
    rows += [(pixel(e.epsilon), percent(e.value), interval(e)) for e in summary.robust_accuracy]
    note = "Stronger attacks may find more. "
    if summary.radii:
        note += f"Searched within {', '.join(map(pixel, summary.radii))}, not for the smallest "
        minimising = ", ".join(summary.without_radius)
        note += f"distance (except {minimising})." if minimising else "distance."
    else:
        note += "Median distance of the nearest adversarial image: "
        note += f"{decimal(summary.median_distance)}, of all images, misclassified ones at 0."
    if summary.elsewhere:
        found = "1 image" if summary.elsewhere == 1 else f"{summary.elsewhere} images"
        note += f" For {found} another analysis of this file (masking check, transfer or proofs) "
        note += "found a nearer adversarial image, which counts."
    header: tuple[str, ...] = ("ε", "accuracy", "95 % interval")
    if summary.per_attack:
        note += " The column of an attack is its accuracy alone: it ran on every image, whatever "
        note += "the others found. In brackets: 95 % interval."
        header += tuple(one.name for one in summary.per_attack)
        rows = [(*row, *own) for row, own in zip(rows, _each(summary), strict=True)]
    title = f"robust accuracy under attack ({summary.norm})"
    return Table(title, "attacked", header, tuple(rows), note)


def _each(summary: AttackSummary) -> Iterator[tuple[str, ...]]:
    """Accuracies under each attack alone, for every row of the table of accuracies."""
    if summary.clean_accuracy.n:
        yield tuple(share_text(summary.clean_accuracy) for _ in summary.per_attack)
    yield from zip(
        *(map(share_text, one.robust_accuracy) for one in summary.per_attack), strict=True
    )


def _targeted(summary: AttackSummary) -> Iterator[Table]:
    correct, everything = summary.targeted_success, summary.targeted_success_all
    if not correct:
        return
    title = f"targeted success ({summary.norm}): images moved to their randomly chosen target class"
    header: tuple[str, ...] = ("ε", "of the correctly classified", "95 % interval")
    rows: list[tuple[str, ...]] = [
        (pixel(e.epsilon), percent(e.value), interval(e)) for e in correct
    ]
    if everything:
        header += ("of all images", "95 % interval")
        shares = ((percent(e.value), interval(e)) for e in everything)
        rows = [(*row, *share) for row, share in zip(rows, shares, strict=True)]
    yield Table(title, "attacked", header, tuple(rows))


def transfer_tables(summaries: Sequence[TransferSummary]) -> Iterator[Table]:
    """Accuracy on adversarial images of other models, and the accuracy of those models on them."""
    for summary in summaries:
        radii = tuple(f"ε = {pixel(entry.epsilon)}" for entry in summary.all_sources)
        rows = [_shares(one.source, one.robust_accuracy) for one in summary.sources]
        if len(rows) > 1:
            rows.append(_shares("all of them", summary.all_sources))
        title = f"accuracy on adversarial images of other models ({summary.norm})"
        note = (
            f"Made on the source by {summary.recipe}, {summary.steps} steps; classified by this "
            f"model's runtime. Without attack: {share_text(summary.clean_accuracy)}. In brackets: "
            "95 % interval. Other sources or stronger attacks on them may find more."
        )
        yield Table(title, "attacked", ("source", *radii), tuple(rows), note)
        own = tuple(
            (one.source, share_text(one.clean_accuracy), *_shares("", one.source_accuracy)[1:])
            for one in summary.sources
        )
        title = "accuracy of the sources themselves on the same images"
        yield Table(title, "attacked", ("source", "no attack", *radii), own)


def _shares(name: str, entries: Sequence[RobustAccuracy]) -> tuple[str, ...]:
    return (name, *(share_text(entry) for entry in entries))


def corruption_tables(summaries: Sequence[CorruptionSummary]) -> Iterator[Table]:
    """Accuracy under random changes: on one draw, on average, on the worst draw."""
    for summary in summaries:
        yield from _corruption(summary)


def _corruption(summary: CorruptionSummary) -> Iterator[Table]:
    draws = summary.draws
    what = "random rotation and shift" if summary.change == "spatial" else "Gaussian noise"
    measured = tuple(
        (_strength(entry.strength), share_text(entry.one_draw), percent(entry.mean))
        for entry in summary.accuracy
    )
    header = ("strength", "one draw per image", f"mean of {draws} draws")
    note = f"Unchanged images: {share_text(summary.clean_accuracy)}. In brackets: 95 % interval."
    note += " Pixels are clipped to [0, 1]." if summary.clip else ""
    yield Table(f"accuracy under {what}", "measured", header, measured, note)
    worst = tuple((_strength(e.strength), share_text(e.worst)) for e in summary.accuracy)
    note = (
        "Share classified correctly without change and on every draw; more draws can only lower it."
    )
    yield Table(f"worst of {draws} draws", "attacked", ("strength", "accuracy"), worst, note)


def _strength(strength: Sequence[float]) -> str:
    """Text of a strength.

    >>> _strength((10.0, 0.05)), _strength((0.1,))
    ('±10°, ±5 %', 'σ = 0.1')
    """
    if len(strength) == 1:
        return f"σ = {decimal(strength[0])}"
    return f"±{decimal(strength[0])}°, ±{decimal(100 * strength[1])} %"
