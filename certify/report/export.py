"""Exports of a results file: CSV, JSON, and certificates in the format of Cohen's scripts."""

from __future__ import annotations

import csv
import io
from itertools import product
from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import SCHEMAS, results, verdict_of
from robcert.certify.gates import recorded
from robcert.certify.smoothing import certified_radii
from robcert.certify.store import EVIDENCE_LOSSES, ledger, plain
from robcert.certify.tables import Table, pixel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.store import AnalysisGroup, ResultStore


def groups(store: ResultStore) -> list[AnalysisGroup]:
    """Every table of ``store``, in the order of the schema, oldest first."""
    names = list(dict.fromkeys(schema.name for schema in SCHEMAS))
    return [group for name in names for group in store.existing(name) if group.columns]


def csv_lines(store: ResultStore, group: AnalysisGroup) -> Iterator[str]:
    """Finished rows of ``group`` as CSV: index and label, then its columns without the images.

    A column with further axes is one for each of their entries: ``status@2/255``.
    """
    schema = next(schema for schema in SCHEMAS if schema.name == group.schema_name)
    by_image, rows = schema.axis == "image", group.indices
    names: list[str] = []
    columns: list[list[Any]] = []
    for column in schema.columns:
        if column.name in group.columns and not column.images:
            values = group.column(column.name, rows)
            ends = _entries(store, group, column.trailing, values.shape[1:])
            names += [f"{column.name}{end}" for end in ends]
            columns += values.reshape(len(rows), len(ends)).T.tolist()
    if by_image:
        labels = store.labels[store.rows(rows)]
        columns = [rows.tolist(), labels.tolist(), *columns]
        names = ["index", "label", *names]
    yield _line(names)
    for row in zip(*columns, strict=True):
        yield _line(list(row))


def store_json(store: ResultStore, path: str | None) -> dict[str, Any]:
    """Header, model, data, the summary of every group (or of the one at ``path``), the ledger.

    And the verdict, and the decisions on the gates of the last audit.
    """
    wanted = store.at(path).path if path else None
    return {
        "format": plain(store.header),
        "model": plain(store.model),
        "data": plain(store.data),
        "groups": [
            {
                "path": result.group.path,
                "analysis": result.analysis.name,
                "complete": result.group.complete,
                "seed": result.group.seed,
                "settings": plain(result.group.settings),
                "summary": result.to_json(),
            }
            for result in results(store)
            if wanted in (None, result.group.path)
        ],
        "violations": plain(ledger(store).to_json()),
        "verdict": verdict_of(store).to_json(),
        "gates": [decision.to_json() for decision in recorded(store)],
    }


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
    schema = next(schema for schema in SCHEMAS if schema.name == group.schema_name)
    rows = tuple(
        (column.name, str(column.kind), column.units or "–", column.doc)
        for column in schema.columns
        if column.name in group.columns
    )
    return Table(group.path.strip("/"), "", ("column", "claim", "unit", "meaning"), rows)


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


def _line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
NO_TIME = "0:00:00"
"""Images share batches, so the time of a single image is unknown."""


def cohen_lines(store: ResultStore, key: str) -> Iterator[str]:
    """Lines of the table for the certificates at path ``key``; -1 in ``predict`` is an abstention.

    The radius is not rounded to three digits, as it is in the original.
    """
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    labels = store.labels[store.rows(indices)]
    predictions, radii = group.column("prediction", indices), certified_radii(group, indices)
    yield HEADER
    for index, label, predicted, radius in zip(indices, labels, predictions, radii, strict=True):
        yield f"{index}\t{label}\t{predicted}\t{radius:.8g}\t{int(label == predicted)}\t{NO_TIME}"
