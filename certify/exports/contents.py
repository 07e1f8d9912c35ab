"""The tables of a results file, each with what its numbers refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import labelled, results, violations_table
from robcert.certify.store import ledger
from robcert.certify.tables import Table, pixel

from .rows import schema_of
from .selection import groups, groups_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from robcert.certify.store import AnalysisGroup, ResultStore

CLAIMS = {
    "certified": "certified (proven, or holds with the stated probability)",
    "estimated": "estimated (may be wrong)",
    "attacked": "attacked (adversarial examples were found and re-checked; an upper limit of "
    "robustness)",
    "measured": "measured (a fact about these images)",
}
"""Each kind of claim in a caption."""


@dataclass(frozen=True, slots=True)
class CaptionedTable:
    """A table with the sentences that a reader of it alone needs.

    Attributes:
        table: the table.
        caption: title, kind of claim, norm, ε, number of images, interval; plain text.
        label: name of the table in its document, such as ``attack-1``.
    """

    table: Table
    caption: str
    label: str


def overview(store: ResultStore) -> tuple[Table, ...]:
    """Tables of the model and data of the file, and of its groups."""
    model, data = store.model, store.data
    facts = (
        ("model", f"{model['file']} ({str(model['sha256'])[:8]})"),
        ("data", f"{data['name']} ({str(data['sha256'])[:8]}), {data['size']} images"),
        ("written by", f"robcert {store.header['robcert_version']}"),
    )
    rows = tuple(
        (
            group.path.strip("/"),
            str(len(group.indices)),
            "yes" if group.complete else "no",
            str(group.seed),
        )
        for group in groups(store)
    )
    return (
        Table(str(store.path), "", ("fact", "value"), facts),
        Table("groups", "", ("group", "rows", "complete", "seed"), rows),
    )


def columns_table(group: AnalysisGroup) -> Table:
    """Table of the columns of one group: claim, unit, meaning."""
    rows = tuple(
        (column.name, str(column.kind), column.units or "–", column.doc)
        for column in schema_of(group).columns
        if column.name in group.columns
    )
    return Table(group.path.strip("/"), "", ("column", "claim", "unit", "meaning"), rows)


def captioned_tables(store: ResultStore, name: str | None) -> Iterator[CaptionedTable]:
    """Tables of every summary of ``store`` and the ledger, or those of the groups called ``name``.

    Raises:
        StoreError: there is no group of that name.
    """
    wanted = {group.path for group in groups_named(store, name)} if name else None
    for reading in results(store):
        if wanted is None or reading.group.path in wanted:
            tables = reading.tables_for(labelled=labelled(store))
            yield from _captioned(tables, facts_of(reading.group), reading.group.path)
    if wanted is None:
        yield from _captioned([violations_table(ledger(store))], (), "ledger")


def plain_captions(tables: Iterable[Table]) -> Iterator[CaptionedTable]:
    """``tables`` that belong to no single group: captions of title and claim."""
    return _captioned(tables, (), "table")


def facts_of(group: AnalysisGroup) -> tuple[str, ...]:
    """Norm, ε and number of images of ``group``, as far as it has them."""
    settings = group.settings
    unit = "images" if schema_of(group).axis == "image" else "samples"
    norm = settings.get("norm", "l2" if "sigma" in settings else None)
    facts = (
        f"norm {norm}" if norm else "",
        _radii(settings),
        f"noise σ = {settings['sigma']:g}" if settings.get("sigma") else "",
        f"α = {settings['alpha']:g}" if settings.get("alpha") else "",
        f"n = {len(group.indices)} {unit}",
    )
    return tuple(fact for fact in facts if fact)


def _radii(settings: dict[str, Any]) -> str:
    """The distances that the settings name."""
    names = ("epsilon", "epsilons", "radii", "reported_radii")
    named = next((settings[name] for name in names if settings.get(name)), ())
    radii = sorted(named) if isinstance(named, list | tuple) else [named]
    return f"ε = {', '.join(pixel(float(radius)) for radius in radii)}" if radii else ""


def _captioned(
    tables: Iterable[Table], facts: tuple[str, ...], path: str
) -> Iterator[CaptionedTable]:
    base = path.strip("/").replace("/", "-")
    for number, table in enumerate(tables, 1):
        claim = f"Claim: {CLAIMS[table.claim]}." if table.claim else ""
        within = "; ".join((*facts, *_interval(table)))
        sentences = (_sentence(table.title), claim, _sentence(within))
        caption = " ".join(sentence for sentence in sentences if sentence)
        yield CaptionedTable(table, caption, f"{base}-{number}")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _interval(table: Table) -> tuple[str, ...]:
    """Which interval the table has, by its head and its note."""
    stated = any("95 %" in text and "[" in text for text in table.header)
    stated = stated or any("95 % interval" in text for text in (*table.header, table.note))
    return ("95 % intervals",) if stated else ()
