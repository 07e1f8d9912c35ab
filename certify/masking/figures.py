"""Charts of the report: loss along PGD, accuracy by radius, confidence, one loss surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.tables import (
    Chart,
    HistogramRows,
    Lines,
    Place,
    Series,
    SurfaceMap,
    decimal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

    from .summary import MaskingSummary


def charts(
    _: ResultStore, found: Sequence[tuple[MaskingSummary, AnalysisGroup]]
) -> Iterator[Chart]:
    """Charts of the last check of ``found``, which is the one that the report shows."""
    for summary, group in found[-1:]:
        rows = group.indices
        correct = group.column("correct", rows) == 1
        made = (
            _loss(np.asarray(group.column("loss_curve", rows))[correct]),
            _strength(group, rows, correct, summary),
            _confidence(group, rows),
            _surface(group, summary.epsilon),
        )
        yield from (chart for chart in made if chart is not None)


def _loss(losses: NDArray[np.float64]) -> Chart | None:
    """Median and quartiles of the cross-entropy at every step of PGD."""
    losses = losses[np.isfinite(losses).all(1)]
    if not len(losses):
        return None
    low, middle, high = np.quantile(losses, (0.25, 0.5, 0.75), axis=0)
    points = tuple((float(step), float(value)) for step, value in enumerate(middle))
    series = Series("median, quartiles", "measured", points, tuple(low), tuple(high), style="solid")
    content = Lines((series,), "step of PGD", "cross-entropy (nat)", percent=False)
    caption = "The loss should rise. If it is flat, the attack has no usable gradient."
    return Chart("loss along the attack", "measured", caption, content, Place.MASKING)


def _strength(
    group: AnalysisGroup,
    rows: NDArray[np.int64],
    correct: NDArray[np.bool_],
    summary: MaskingSummary,
) -> Chart | None:
    """Figure of the accuracy under PGD at several radii, and under all attacks at epsilon."""
    if "naive_at" not in group.columns or not len(correct):
        return None
    epsilon = summary.epsilon
    radii = [0.0, *(epsilon * factor for factor in group.settings["strengths"])]
    series = []
    for name, column, style in (
        ("PGD on the file's output", "naive_at", "naive"),
        ("PGD on the margin", "margin_at", "strong"),
    ):
        broken = np.asarray(group.column(column, rows))
        if (broken >= 0).all():
            left = [correct.mean(), *(correct[:, None] & (broken != 1)).mean(0)]
            points = tuple((r, float(v)) for r, v in zip(radii, left, strict=True))
            series.append(Series(name, "attacked", points, style=style))
    best = summary.corrected
    if not series or not best.n:
        return None
    series.append(Series("all attacks", "attacked", ((epsilon, best.value),), style="best"))
    content = Lines(tuple(series), f"radius ε ({summary.norm})", "accuracy")
    caption = "Accuracy should fall to 0, and the curves should agree. A gap indicates masking."
    name = "accuracy against attack strength"
    return Chart("accuracy by radius", "attacked", caption, content, Place.MASKING, name)


def _confidence(group: AnalysisGroup, rows: NDArray[np.int64]) -> Chart | None:
    named = (("clean", "confidence"), ("random", "confidence_random"), ("PGD1", "confidence_pgd1"))
    columns = [(name, np.asarray(group.column(column, rows))) for name, column in named]
    known = tuple((name, values[np.isfinite(values)]) for name, values in columns)
    known = tuple((name, values) for name, values in known if len(values))
    if not known:
        return None
    content = HistogramRows(known, "largest probability")
    caption = "Unchanged images, after noise, after one step. All at 1: outputs are saturated."
    return Chart("confidence", "measured", caption, content, Place.MASKING)


def _surface(group: AnalysisGroup, epsilon: float) -> Chart | None:
    if "pictures/surface/cross_entropy" not in group:
        return None
    loss = np.asarray(group.array("pictures/surface/cross_entropy"), dtype=np.float64)
    content = SurfaceMap(loss, group.array("pictures/surface/prediction"), epsilon)
    index = int(group.array("pictures/index")[0])
    low, high = (abs(round(float(end), 6)) for end in (np.nanmin(loss), np.nanmax(loss)))
    reach = f"{decimal(low, 3)} to {decimal(high, 3)} nat"
    caption = f"Image {index}: cross-entropy {reach} (light is high); lines separate classes."
    name = "loss surface"
    return Chart("one loss surface", "measured", caption, content, Place.MASKING, name)
