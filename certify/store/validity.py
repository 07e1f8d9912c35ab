"""Whether a results file has the structure that its schemas say; a fault is named by its place."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from robcert.certify.core import Kind
from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHANGED, is_as_written, written_here

from .checksums import value_faults
from .column import KNOWN
from .layout import MOST_IMAGES, read_attribute, settings_digest, unpack_indices
from .ranges import range_faults
from .schema import CHECKSUMS, COMPUTED, FORMAT, IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .column import Column, Schema

HEADER: dict[str, dict[str, type]] = {
    "/": {"format": str, "format_version": int},
    "/model": {"file": str, "sha256": str},
    "/data": {"name": str, "sha256": str},
}

TABLE: dict[str, type] = {
    "schema": str,
    "schema_version": int,
    "axis": str,
    "settings": dict,
    "seed": int,
    "complete": bool,
    "created": str,
}
"""Attributes of every table, with their types."""

DESCRIPTION = ("doc", "units", "kind")
"""Attributes of every array, all texts."""

FACTS: dict[str, dict[str, type]] = {
    "/model": {
        "preprocessing": dict,
        "parity": dict,
        "input_shape": list,
        "output_shape": list,
        "straight_through": list,
        "hint_nodes": list,
        "notes": list,
        "doubts": list,
    },
    "/data": {"classes": list, "size": int},
}
"""Facts about model and data set, with their types where they are known."""

_WORDS = {
    list: "a list in JSON",
    str: "a text",
    int: "an integer",
    bool: "true or false",
    dict: "a JSON object",
}

_DIGEST = re.compile(r"^/[^/]+/[^/]+-([0-9a-f]{8})$")
"""Names of tables that have settings of their own; those of samples are below one of them."""

_KINDS = frozenset(kind.value for kind in Kind)


def require_valid(file: h5py.File, path: Path) -> None:
    """Raise a StoreError that names the first place of ``file`` that is damaged."""
    of_values = iter(()) if written_here(path) else value_faults(file)
    of_structure = chain(header_faults(file), table_faults(file, numbers=False))
    for place, fault in chain(of_structure, of_values, table_faults(file)):
        message = f"{path} is damaged at {place}: {fault}"
        hint = f"robcert doctor {path} tells what can be saved of it"
        raise StoreError(message, hint=hint)


def header_faults(file: h5py.File) -> Iterator[tuple[str, str]]:
    """Faults of the header: model, data set, list of images."""
    for place, needed in HEADER.items():
        if not isinstance(file.get(place), h5py.Group):
            yield place, "is no group"
            return
        for name, kind in needed.items():
            if fault := _attribute_fault(file[place], name, kind):
                yield place, fault
    yield from _fact_faults(file)
    if read_attribute(file, "format") != FORMAT:
        yield "/", f"format is not {FORMAT!r}"
        return
    for column in IMAGES:
        data = file["data"].get(column.name)
        if fault := _column_fault(data, column, None):
            yield f"/data/{column.name}", fault
            return
    yield from _list_faults(*(file["data"][column.name] for column in IMAGES))
    yield from _size_faults(file["data"])


def _fact_faults(file: h5py.File) -> Iterator[tuple[str, str]]:
    """Facts of the header that are of another type; one that nobody knew is empty."""
    for place, facts in FACTS.items():
        for name, kind in facts.items():
            if read_attribute(file[place], name) in (None, ""):
                continue
            if fault := _attribute_fault(file[place], name, kind):
                yield place, fault


def _list_faults(index: h5py.Dataset, label: h5py.Dataset) -> Iterator[tuple[str, str]]:
    """The first fault of the list of images and their labels."""
    if len(index) != len(label):
        yield "/data/label", f"has {len(label)} rows, /data/index has {len(index)}"
    elif len(index) and (index[()].min() < 0 or len(np.unique(index[()])) < len(index)):
        yield "/data/index", "names an image twice, or a negative number"
    elif len(label) and label[()].min() < -1:
        yield "/data/label", "has a label below -1"
    elif wrong := [data for data in (index, label) if not is_as_written(data)]:
        yield str(wrong[0].name), f"has other values {CHANGED}"


def _size_faults(data: h5py.Group) -> Iterator[tuple[str, str]]:
    """A size of the data set that its list of images contradicts; an old file may have none."""
    size, last = read_attribute(data, "size"), int(data["index"][()].max(initial=-1))
    if isinstance(size, int) and not last < size <= MOST_IMAGES:
        yield "/data", f"size is {size}, beside an image with the number {last}"


def table_faults(file: h5py.File, *, numbers: bool = True) -> Iterator[tuple[str, str]]:
    """Faults of the tables whose schema and version this robcert knows, and of what they hold.

    Without ``numbers`` those of their structure alone: a number that cannot be is better explained
    by a row that is not as written.
    """
    images, found = len(file["data/index"]), list[tuple[str, str]]()

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group):
            found.extend((f"/{name}", fault) for fault in _group_faults(item))
            if "schema" in item.attrs:
                found.extend(_table_faults(item, images, numbers=numbers))
        elif fault := _description_fault(item):
            found.append((f"/{name}", fault))

    file.visititems(visit)
    yield from found


def _group_faults(group: h5py.Group) -> Iterator[str]:
    """Attributes of ``group`` that are neither numbers nor texts, or no JSON that can be read."""
    for name in group.attrs:
        value = group.attrs[name]
        if not isinstance(value, str | np.number | np.bool_):
            yield f"the attribute {name} is neither a number nor a text"
            continue
        try:
            read_attribute(group, name)
        except StoreError as error:
            yield str(error)


def _table_faults(table: h5py.Group, images: int, *, numbers: bool) -> Iterator[tuple[str, str]]:
    """Faults of one table."""
    place = str(table.name)
    faults = [fault for n, kind in TABLE.items() if (fault := _attribute_fault(table, n, kind))]
    if faults:
        yield place, faults[0]
        return
    if not isinstance(read_attribute(table, "number", 0), int):
        yield place, "number is not an integer"
    schema = KNOWN.get(table.attrs["schema"])
    if schema is None or int(table.attrs["schema_version"]) != schema.version:
        return  # refused where the table is used
    if table.attrs["axis"] != schema.axis:
        yield place, f"its rows are {table.attrs['axis']!r}, not {schema.axis!r}"
        return
    if not isinstance(table.get(COMPUTED.name), h5py.Dataset):
        yield place, f"lacks the column {COMPUTED.name}"
        return
    rows = images if schema.axis == "image" else len(table[COMPUTED.name])
    if damaged := list(_column_faults(table, schema, rows)):
        yield from damaged
        return
    if fault := _indices_fault(table, rows):
        yield place, fault
    if numbers:
        yield from _number_faults(table, schema)


def _number_faults(table: h5py.Group, schema: Schema) -> Iterator[tuple[str, str]]:
    """Numbers of ``table`` that no analysis can have, or settings that are not its own."""
    if odd := list(range_faults(table, schema)):
        yield from odd
    elif not _has_its_name(table):
        yield str(table.name), "its settings are not those that its name stands for"


def _has_its_name(table: h5py.Group) -> bool:
    """Whether the name of ``table`` ends with the digest of its settings, if it ends with one."""
    digest, seed = _DIGEST.search(str(table.name)), read_attribute(table, "seed")
    settings = dict(read_attribute(table, "settings"))
    settings.pop("indices", None)
    kinds = (settings, settings or None)  # no settings are stored as empty ones
    return digest is None or digest[1] in [settings_digest(seed, one) for one in kinds]


def _column_faults(table: h5py.Group, schema: Schema, rows: int) -> Iterator[tuple[str, str]]:
    """Columns of ``table`` that are missing or not as ``schema`` says."""
    for column in (*schema.columns, CHECKSUMS, COMPUTED):
        lacking = column.images or column.optional or column.name in schema.added
        if (lacking or column is CHECKSUMS) and column.name not in table:
            continue
        if fault := _column_fault(table.get(column.name), column, rows):
            yield f"{table.name}/{column.name}", fault
        elif table[column.name].dims[0].label != schema.axis:
            yield f"{table.name}/{column.name}", f"its first axis is not called {schema.axis!r}"
        elif column is COMPUTED and not np.isin(table[COMPUTED.name][()], (0, 1)).all():
            yield f"{table.name}/{column.name}", "has values other than 0 and 1"


def _column_fault(data: object, column: Column, rows: int | None) -> str:
    """What of ``data`` is not as ``column`` says; empty if it is a column of ``rows`` rows."""
    if not isinstance(data, h5py.Dataset):
        return "is missing" if data is None else "is no array"
    if data.shape is None or data.ndim != 1 + len(column.trailing):
        return f"has the shape {data.shape}, not {1 + len(column.trailing)} axes"
    if data.dtype != np.dtype(column.dtype):
        return f"is of type {data.dtype}, not {np.dtype(column.dtype)}"
    if rows is not None and len(data) != rows:
        return f"has {len(data)} rows, not {rows}"
    if bool(data.chunks) != column.images:
        return "is stored in another way than robcert writes it"
    return ""


def _description_fault(data: h5py.Dataset) -> str:
    """What of the description of an array is not as robcert writes it."""
    if data.dtype.kind not in "biufO" or data.shape is None:
        return f"is of type {data.dtype} and shape {data.shape}"
    if data.dtype.kind == "O":  # a long attribute
        if data.shape or not h5py.check_string_dtype(data.dtype):
            return "is no text"
        try:
            read_attribute(data.parent, str(data.name).rsplit("/", 1)[1])
        except StoreError as error:
            return str(error)
        return ""
    for name in DESCRIPTION:
        if not isinstance(data.attrs.get(name), str):
            return f"lacks the text {name}"
    kind = data.attrs["kind"]
    return "" if kind in _KINDS else f"has an unknown kind of claim: {kind!r}"


def _indices_fault(table: h5py.Group, rows: int) -> str:
    """Why the list of images in the settings of ``table`` is not one of its rows."""
    text = read_attribute(table, "settings").get("indices")
    if text is None:
        return ""
    try:
        indices = unpack_indices(text)
    except (ValueError, AttributeError):
        return "settings name images in a way that cannot be read"
    if len(np.unique(indices)) < len(indices):
        return "settings name an image twice"
    of_images = read_attribute(table, "axis") == "image"
    known = table.file["data/index"][()] if of_images else np.arange(rows)
    return "" if np.isin(indices, known).all() else "settings name images that are not in the file"


def _attribute_fault(place: h5py.Group, name: str, kind: type) -> str:
    """Why the attribute ``name`` is not of the type ``kind``; empty if it is."""
    try:
        value: Any = read_attribute(place, name)
    except StoreError as error:
        return str(error)
    if value is None:
        return f"lacks {name}"
    fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    return "" if fits else f"{name} is not {_WORDS[kind]}"
