"""The main numbers of several models as one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, UNLABELLED, Table, decimal, margin_name, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .overview import AccuracyInterval, Overview


@dataclass(frozen=True, slots=True)
class _Column:
    """One column.

    Attributes:
        header: its name, with the kind of its claim.
        cells: one for each model.
        note: meaning and limitations.
        always: whether it is shown where no model has the number.
    """

    header: str
    cells: tuple[str, ...]
    note: str = ""
    always: bool = False

    @property
    def shown(self) -> bool:
        """Whether the table has it."""
        return self.always or any(cell != DASH for cell in self.cells)


def names(rows: Sequence[Overview]) -> list[str]:
    """Names of the models: their file names, or those of the results files if two coincide."""
    files = [row.model for row in rows]
    return files if len(set(files)) == len(files) else [Path(row.results).stem for row in rows]


def overview_table(rows: Sequence[Overview]) -> Table:
    """Table with one row per model; every column names its kind of claim.

    Apart from the clean and the attacked accuracy, numbers that no file holds have no column.
    """
    columns = [column for column in _columns(rows) if column.shown]
    header = ("model", *(column.header for column in columns))
    cells = [column.cells for column in columns]
    note = " ".join([*dict.fromkeys(c.note for c in columns if c.note), *_differences(rows)])
    return Table("models", "", header, tuple(zip(names(rows), *cells, strict=True)), note)


def ball_of(row: Overview) -> str:
    """Radius and norm of the accuracies of a row: ``8/255 linf``."""
    return f"{pixel(row.epsilon)} {row.norm or ''}".strip()


def _columns(rows: Sequence[Overview]) -> list[_Column]:
    first = next((row for row in rows if row.epsilon is not None), rows[0])
    smoothed = next((row.radius for row in rows if row.radius is not None), None)
    ball = ball_of(first)

    def at_ball(shares: Sequence[AccuracyInterval | None]) -> tuple[str, ...]:
        """Accuracies; one at another ball than the header's names its own."""
        own = ["" if ball_of(row) == ball else f" at {ball_of(row)}" for row in rows]
        return tuple(_share(share, more) for share, more in zip(shares, own, strict=True))

    attacked = tuple(
        f"{cell}, by distance" if row.by_distance else cell
        for cell, row in zip(at_ball([row.attacked for row in rows]), rows, strict=True)
    )
    accuracies = "Accuracies: clean, attacked and certified."
    means = "γ and bounds: means over the images, bounds in pixel units of [0, 1]."
    between = "The robust accuracy of a model lies between its certified and its attacked one."
    own_radius = [
        "" if row.radius in (None, smoothed) else f" at {decimal(row.radius)}" for row in rows
    ]
    certified = [_share(row.certified, own) for row, own in zip(rows, own_radius, strict=True)]
    return [
        _Column("clean measured", tuple(_share(row.clean) for row in rows), accuracies, True),
        _Column(f"{ball} certified", at_ball([row.proven for row in rows]), between),
        _Column(f"{ball} attacked", attacked, always=True),
        *_per_attack(rows, at_ball),
        _Column("γ estimated", tuple(decimal(row.gamma, 3) for row in rows), means),
        _Column("ρ-bound estimated", tuple(decimal(row.rho_bound, 3) for row in rows), means),
        _Column("L-bound estimated", tuple(decimal(row.l_bound, 3) for row in rows), means),
        _Column("ω-bound estimated", tuple(decimal(row.omega_bound, 3) for row in rows), means),
        _Column(
            f"{decimal(smoothed)} l2 certified, smoothed",
            tuple(certified),
            "Smoothed: the accuracy of the smoothed classifier, which is another one.",
        ),
        _Column("masking check", tuple(row.masking or DASH for row in rows)),
        _Column(
            "audit, s", tuple(decimal(row.seconds, 3) for row in rows), "s: seconds, measured."
        ),
    ]


def _per_attack(
    rows: Sequence[Overview],
    at_ball: Callable[[Sequence[AccuracyInterval | None]], tuple[str, ...]],
) -> list[_Column]:
    """A column for each attack that ran alone on every image of a model."""
    attacks = dict.fromkeys(name for row in rows for name in row.per_attack)
    note = "The column of an attack: it ran alone on every image."
    return [
        _Column(f"{name} attacked", at_ball([row.per_attack.get(name) for row in rows]), note)
        for name in attacks
    ]


def _share(share: AccuracyInterval | None, more: str = "") -> str:
    return DASH if share is None else f"{percent(share.value)}{more}"


def _differences(rows: Sequence[Overview]) -> list[str]:
    """Sentences on what the rows do not have in common."""
    said = []
    balls = {ball_of(row) for row in rows if row.epsilon is not None}
    smoothed = {row.radius for row in rows if row.radius is not None}
    if len(balls) > 1 or len(smoothed) > 1:
        said.append(
            "The files have different radii: a cell that is not at the header's names its own."
        )
    moved = [
        f"that of {name} is {pixel(row.own_epsilon)}"
        for name, row in zip(names(rows), rows, strict=True)
        if row.epsilon is not None and pixel(row.epsilon) != pixel(row.own_epsilon)
    ]
    if moved and len(balls) == 1:
        said.append(f"The files have different radii first: {', '.join(moved)}.")
    if any(row.by_distance for row in rows):
        said.append(
            "By distance: no attack searched within the radius; the accuracy follows from the "
            "smallest distances found."
        )
    margins = dict.fromkeys(margin_name(row.margin) for row in rows if row.margin)
    if len(margins) > 1 or "probability margin" in margins:
        by_name = zip(names(rows), rows, strict=True)
        each = [f"{name} {margin_name(r.margin)}" for name, r in by_name if r.margin]
        said.append(f"Bounds: {', '.join(each)}.")
    if not all(row.labelled for row in rows):
        said.append(UNLABELLED)
    return said
