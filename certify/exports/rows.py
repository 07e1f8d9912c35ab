"""Finished rows of one table, one column per number: what CSV and Parquet write."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.auditing import SCHEMAS
from robcert.certify.core import Kind
from robcert.certify.store import EVIDENCE_LOSSES
from robcert.certify.tables import pixel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, Column, ResultStore, Schema


@dataclass(frozen=True, slots=True, eq=False)
class RowColumn:
    """One number of every row.

    Attributes:
        name: name of the column; with the entry of its further axes, as in ``status@2/255``.
        claim: certified, estimated, attacked or measured.
        units: unit of the values; empty for none.
        doc: what the values are.
        values: the values ``(rows,)``.
    """

    name: str
    claim: str
    units: str
    doc: str
    values: NDArray[Any]


def row_columns(store: ResultStore, group: AnalysisGroup) -> tuple[RowColumn, ...]:
    """Columns of the finished rows of ``group``, without images.

    Index and label of the image come first. A column with further axes becomes one for each of
    their entries.
    """
    schema, rows = schema_of(group), group.indices
    found: list[RowColumn] = []
    if schema.axis == "image":
        labels = np.asarray(store.labels[store.rows(rows)])
        found.append(_plain("index", "position of the image in the data set", rows))
        found.append(_plain("label", "class of the image; -1 where it has none", labels))
    for column in schema.columns:
        if column.name in group.columns and not column.images:
            found += _entries_of(store, group, column, rows)
    return tuple(found)


def schema_of(group: AnalysisGroup) -> Schema:
    """The schema of the table ``group``."""
    return next(schema for schema in SCHEMAS if schema.name == group.schema_name)


def _plain(name: str, doc: str, values: NDArray[Any]) -> RowColumn:
    return RowColumn(name, str(Kind.MEASURED), "", doc, values)


def _entries_of(
    store: ResultStore, group: AnalysisGroup, column: Column, rows: NDArray[np.int64]
) -> list[RowColumn]:
    """One column per entry of the further axes of ``column``."""
    values = group.column(column.name, rows)
    ends = _entries(store, group, column.trailing, values.shape[1:])
    flat = values.reshape(len(rows), len(ends)).T
    return [
        RowColumn(f"{column.name}{end}", str(column.kind), column.units, column.doc, entry)
        for end, entry in zip(ends, flat, strict=True)
    ]


def _entries(
    store: ResultStore, group: AnalysisGroup, axes: Sequence[str], sizes: Sequence[int]
) -> list[str]:
    """Ends of the names of a column's entries, in their order; one empty end without ``axes``."""
    named = [_places(store, group, axis, size) for axis, size in zip(axes, sizes, strict=True)]
    return ["".join(f"@{place}" for place in places) for places in product(*named)]


def _places(store: ResultStore, group: AnalysisGroup, axis: str, size: int) -> list[str]:
    """Entries of an axis in words, by the list of them that the table has, else their numbers."""
    listed: Any = EVIDENCE_LOSSES if axis == "loss" else None
    parts = group.path.strip("/").split("/")
    for length in (len(parts), 2):  # a table of samples is in the one that they belong to
        table = store.at("/".join(parts[:length]))
        listed = listed or table.attribute(f"{axis}s", table.settings.get(f"{axis}s"))
    if not isinstance(listed, list | tuple):
        listed = ()
    found = [pixel(one) if isinstance(one, float) else str(one) for one in listed]
    return found if len(set(found)) == size else [str(place) for place in range(size)]
