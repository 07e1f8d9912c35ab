"""Section 3, the analyses: per kind of claim figures first, then tables, most of them folded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robcert.certify.auditing import Section
from robcert.certify.tables import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.auditing import Readings
    from robcert.certify.tables import Table

    from .figures import Figure

TITLES = {
    Section.ATTACKED: "Under attack",
    Section.CERTIFIED: "Certified",
    Section.ESTIMATED: "Estimated",
    Section.MEASURED: "Measured",
}
"""Titles of the parts, in the order of the page."""

INTRODUCTIONS = {
    Section.ATTACKED: "What attacks found. Stronger attacks may find more.",
    Section.CERTIFIED: (
        "What is proven, of the model itself, or holds with stated probability, of the smoothed "
        "classifier, which is another one."
    ),
    Section.ESTIMATED: "Statistics and searches without guarantee; the ledger shows which fail.",
    Section.MEASURED: "Plain facts.",
}


@dataclass(frozen=True, slots=True)
class FoldedTable:
    """A table of the page, and whether it is unfolded."""

    table: Table
    open: bool


@dataclass(frozen=True, slots=True)
class Part:
    """The analyses of one kind of claim.

    Attributes:
        anchor: target of links.
        title: heading.
        claim: kind of claim.
        introduction: sentence below the heading.
        figures: figures of all analyses.
        tables: their tables.
    """

    anchor: str
    title: str
    claim: str
    introduction: str
    figures: tuple[Figure, ...]
    tables: tuple[FoldedTable, ...]


def parts(
    found: Readings, figures: Sequence[Figure], *, named: bool, without: Sequence[str] = ()
) -> tuple[Part, ...]:
    """The parts that have a table or a figure.

    Args:
        found: summaries of all tables of the file.
        figures: figures of all analyses.
        named: whether the images have labels.
        without: titles of figures that the page shows elsewhere.
    """
    shown = [
        figure
        for figure in figures
        if figure.place in (Place.CURVES, Place.EXTREMES) and figure.title not in without
    ]
    made = (
        _part(section, found, [one for one in shown if one.section is section], named=named)
        for section in TITLES
    )
    return tuple(part for part in made if part.figures or part.tables)


def _part(section: Section, found: Readings, shown: Sequence[Figure], *, named: bool) -> Part:
    claim = section.name.lower()
    return Part(
        anchor=f"part-{claim}",
        title=TITLES[section],
        claim=claim,
        introduction=INTRODUCTIONS[section],
        figures=tuple(sorted(shown, key=lambda figure: figure.place is Place.EXTREMES)),
        tables=_tables(section, found, named=named),
    )


def _tables(section: Section, found: Readings, *, named: bool) -> tuple[FoldedTable, ...]:
    """The tables of a section; the first of each analysis is unfolded.

    Runs of the same analysis are told apart by the keys of their tables.
    """
    made: list[FoldedTable] = []
    opened = set[str]()
    for reading in (one for one in found if one.analysis.section is section):
        several = sum(other.analysis is reading.analysis for other in found) > 1
        for table in reading.tables_for(labelled=named):
            title = f"{table.title} · {reading.group.key}" if several else table.title
            first = reading.analysis.name not in opened
            made.append(
                FoldedTable(replace(table, title=title), first and section is not Section.ESTIMATED)
            )
            opened.add(reading.analysis.name)
    return tuple(made)
