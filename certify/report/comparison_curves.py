"""Accuracy against distance of several models, one picture for each kind of claim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.attacks import ATTACK
from robcert.certify.auditing import results
from robcert.certify.smoothing import SMOOTHING
from robcert.certify.store import ResultStore
from robcert.certify.tables import Shares
from robcert.certify.verification import VERIFY

from .figures import survival_lines
from .ranking import MASKED
from .svg import curves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.auditing import Reading, Summary
    from robcert.certify.tables import Distances

    from .ranking import Ranked

MOST_MODELS = 8
"""Models of a picture, the first of the ranking: more curves cannot be told apart."""


@dataclass(frozen=True, slots=True)
class ClaimCurves:
    """The curves of several models for one kind of claim.

    Attributes:
        title: heading.
        claim: certified or attacked.
        svg: the drawing.
        caption: sentences below it.
    """

    title: str
    claim: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a picture shows: the newest table of one analysis in each file."""

    analysis: str
    claim: str
    title: str
    x_label: str
    caption: str


def claim_curves(models: Sequence[Ranked]) -> tuple[ClaimCurves, ...]:
    """The pictures for which at least two models have a curve: attacked, certified, smoothed.

    Without labels the shares are those of images that keep their class.
    """
    labelled = all(model.row.labelled for model in models)
    norm = next((str(one.row.norm) for one in models if one.row.norm), "")
    kinds = tuple(_kinds(norm))
    columns: dict[_Kind, list[Distances]] = {kind: [] for kind in kinds}
    for number, model in enumerate(models[:MOST_MODELS]):
        with ResultStore.read(Path(model.row.results)) as store:
            for kind in kinds:
                column = _column(store, kind, norm)
                if column is not None:
                    name = _name(model, kind, column)
                    columns[kind].append(replace(column, name=name, style=f"model{number}"))
    left_out = f" The first {MOST_MODELS} models only." if len(models) > MOST_MODELS else ""
    return tuple(
        ClaimCurves(
            kind.title, kind.claim, _drawn(kind, found, labelled=labelled), kind.caption + left_out
        )
        for kind, found in columns.items()
        if len(found) > 1
    )


def _kinds(norm: str) -> Iterator[_Kind]:
    size = f"size of the change ε ({norm}), pixel units of [0, 1]"
    yield _Kind(
        ATTACK.name,
        "attacked",
        f"under attack, against the size of the change ({norm})",
        size,
        "The true value of a model lies on or below its curve, and far below it where gradients "
        "are masked. Bands: 95 % intervals.",
    )
    yield _Kind(
        VERIFY.name,
        "certified",
        f"certified, the models themselves ({norm})",
        size,
        "The true value of a model lies on or above its curve. Bands: 95 % intervals.",
    )
    yield _Kind(
        SMOOTHING.name,
        "certified",
        "certified, the smoothed classifiers (l2)",
        "certified radius (l2), pixel units of [0, 1]",
        "Each is another classifier than its model: the majority vote under noise. Bands: 95 % "
        "intervals.",
    )


def _column(store: ResultStore, kind: _Kind, norm: str) -> Distances | None:
    """The curve of the newest table of an analysis; of attacks, of a whole suite if there is one.

    The tables of a norm are meant, apart from smoothing, whose radii are l2.
    """
    found = [
        reading
        for reading in results(store)
        if reading.analysis.name == kind.analysis and _norm(reading) in ("", norm)
    ]
    suites = [one for one in found if not one.group.settings.get("attacks")]
    for reading in reversed(suites or found):
        for chart in reading.analysis.charts(store, (reading,)):
            if isinstance(chart.content, Shares):
                return chart.content.columns[0]
    return None


def _norm(reading: Reading[Summary]) -> str:
    return str(reading.group.settings.get("norm", ""))


def _name(model: Ranked, kind: _Kind, column: Distances) -> str:
    if kind.analysis == SMOOTHING.name:
        return f"{model.name}, {column.name}"
    masked = kind.analysis == ATTACK.name and model.row.masking == MASKED
    return f"{model.name}, masked gradients" if masked else model.name


def _drawn(kind: _Kind, columns: list[Distances], *, labelled: bool) -> str:
    smoothed = kind.analysis == SMOOTHING.name
    shares = Shares(tuple(columns), kind.x_label, to_the_end=smoothed)
    lines = survival_lines(shares)
    if not labelled:
        lines = replace(lines, y_label="share that keeps its class")
    return curves(lines, title=kind.title)
