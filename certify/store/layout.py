"""Layout of a results file in HDF5: tables, attributes, index lists."""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import seal
from robcert.certify.json_text import JsonText, parsed_json

from .schema import CHECKSUMS, COMPUTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from .column import Column, Schema

LONGEST_ATTRIBUTE = 60_000
"""HDF5's oldest format holds 64 kB in an attribute; a longer text becomes a scalar dataset."""

MOST_IMAGES = 2**31
"""Images of the largest data set that a list of indices may name."""


def create_table(group: h5py.Group, schema: Schema, rows: int, sizes: Mapping[str, int]) -> None:
    """Create the datasets of ``schema`` with ``rows`` rows of fill values.

    Space for every dataset is allocated now, so that writing rows later changes values only. A
    column of images, or an optional one, is created only if ``sizes`` has its axes.
    """
    for column in _columns(schema, sizes):
        shape = (rows, *(sizes[axis] for axis in column.trailing))
        fill = np.dtype(column.dtype).type(column.fill)
        if column.images:
            data = group.create_dataset(
                column.name,
                shape,
                column.dtype,
                maxshape=(None, *shape[1:]),
                chunks=(1, *shape[1:]),
                compression="gzip",
                shuffle=True,
                fillvalue=fill,
            )
        else:
            data = group.create_dataset(column.name, data=np.full(shape, fill), fillvalue=fill)
        describe(data, column, (schema.axis, *column.trailing))


def table_bytes(schema: Schema, rows: int, sizes: Mapping[str, int]) -> int:
    """Bytes that :func:`create_table` allocates, images left out."""
    plain = (column for column in _columns(schema, sizes) if not column.images)
    widths = (math.prod(sizes[axis] for axis in column.trailing) for column in plain)
    return rows * 8 * sum(widths)


def _columns(schema: Schema, sizes: Mapping[str, int]) -> Iterator[Column]:
    """The columns that a table of ``schema`` with these lengths of its axes has."""
    for column in (*schema.columns, CHECKSUMS, COMPUTED):
        if not (column.images or column.optional) or set(column.trailing) <= set(sizes):
            yield column


def describe(data: h5py.Dataset, column: Column, axes: tuple[str, ...]) -> None:
    """Store the description of ``data`` and the names of its axes."""
    data.attrs["doc"] = column.doc
    data.attrs["units"] = column.units
    data.attrs["kind"] = column.kind.value
    for position, name in enumerate(axes):
        data.dims[position].label = name


def copy_grown(source: h5py.Group, target: h5py.Group, rows: int) -> None:
    """Copy all of ``source`` into ``target``; datasets along images get ``rows`` rows."""
    for name, value in source.attrs.items():
        target.attrs[name] = value
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            copy_grown(item, target.create_group(name), rows)
        elif item.ndim == 0 or item.dims[0].label != "image" or len(item) == rows:
            source.copy(name, target)
        elif item.chunks:
            source.copy(name, target)
            target[name].resize(rows, axis=0)
        else:
            _copy_lengthened(item, target, rows)


def _copy_lengthened(source: h5py.Dataset, target: h5py.Group, rows: int) -> None:
    content = np.full((rows, *source.shape[1:]), source.fillvalue, source.dtype)
    content[: len(source)] = source[()]
    name = source.name.rsplit("/", 1)[1]
    data = target.create_dataset(name, data=content, fillvalue=source.fillvalue)
    for key in ("doc", "units", "kind"):
        data.attrs[key] = source.attrs[key]
    for position, axis in enumerate(source.dims):
        data.dims[position].label = axis.label


def write_attributes(place: h5py.Group, values: Mapping[str, object]) -> None:
    """Store numbers and most texts as they are, anything else as JSON.

    Raises:
        StoreError: a table or an array has the name of an attribute.
    """
    for name in values:
        if name in place and not _is_long_attribute(place[name]):
            message = f"{place.name} holds data called {name}: no attribute can have that name"
            raise StoreError(message)
    for name, value in values.items():
        _write_attribute(place, name, value)
    seal(place)


def changed_attributes(place: h5py.Group, values: Mapping[str, object]) -> dict[str, object]:
    """Those of ``values`` that differ from the attributes of ``place``."""
    nothing = "not set\0"
    return {
        name: value
        for name, value in values.items()
        if canonical_json(read_attribute(place, name, nothing)) != canonical_json(value)
    }


def _write_attribute(place: h5py.Group, name: str, value: object) -> None:
    text = attribute_value(value)
    place.attrs.pop(name, None)
    if name in place:
        del place[name]
    if isinstance(text, str) and len(text.encode()) > LONGEST_ATTRIBUTE:
        place.create_dataset(name, data=str(text))
    else:
        place.attrs[name] = str(text) if isinstance(text, str) else text


def attribute_value(value: object) -> bool | int | float | str | np.number | np.bool_:
    """What an attribute holds for ``value``: itself, or JSON.

    A text is stored as JSON where it would be read as JSON, or where HDF5 cannot hold it: with a
    NUL, or with bytes of a file name that are not UTF-8.
    """
    if isinstance(value, str) and not isinstance(value, JsonText):
        as_it_is = not _is_read_as_json(value) and "\0" not in value and _is_unicode(value)
        return value if as_it_is else canonical_json(value)
    if isinstance(value, bool | int | float | str | np.number | np.bool_):
        return value
    return canonical_json(value)


def _is_read_as_json(text: str) -> bool:
    return text[:1] in ("{", "[", '"') or text == "null"


def _is_unicode(text: str) -> bool:
    """Whether ``text`` has no halves of characters, which stand for bytes of file names."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_long_attribute(item: h5py.Group | h5py.Dataset) -> bool:
    """Whether ``item`` is a string too long for an HDF5 attribute."""
    return isinstance(item, h5py.Dataset) and item.shape == () and item.dtype.kind == "O"


def stored_attribute(place: h5py.Group, name: str) -> Any:
    """Attribute ``name`` of ``place`` as it is stored; None if there is none."""
    if name in place.attrs:
        return place.attrs[name]
    if name in place and _is_long_attribute(place[name]):
        return place[name].asstr()[()]
    return None


def read_attribute(place: h5py.Group, name: str, default: Any = None) -> Any:
    """Attribute ``name`` of ``place``, or ``default`` if there is none.

    Raises:
        StoreError: it holds JSON that nests too deep or has a number of too many digits.
    """
    value = stored_attribute(place, name)
    if value is None:
        return default
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) and _is_read_as_json(value):
        try:
            return parsed_json(value)
        except json.JSONDecodeError:
            return value
        except ValueError as error:
            message = f"the attribute {name} of {place.name} holds JSON that cannot be read"
            raise StoreError(message) from error
    return value


def canonical_json(value: object) -> JsonText:
    """JSON text of ``value`` that depends on its content alone (keys sorted, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return JsonText(text)


def settings_digest(seed: int, settings: object) -> str:
    """Last part of the name of a table: eight hexadecimal digits of all that its rows depend on."""
    content = canonical_json({"seed": seed, "settings": settings})
    return sha256(content.encode()).hexdigest()[:8]


def _plain(value: Any) -> object:
    if hasattr(value, "stored"):  # its fields have other names in results files
        return value.stored()
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


def pack_indices(indices: NDArray[np.int64]) -> str:
    """Index list as text: sorted ranges ``0-99,205,300-400:5``, or a packed bit mask if shorter.

    >>> pack_indices(np.array([0, 1, 2, 3, 9, 20, 30, 40]))
    '0-3,9,20-40:10'
    """
    ordered = [int(i) for i in np.unique(indices)]
    parts = []
    position = 0
    while position < len(ordered):
        stop, step = position + 1, 1
        if stop < len(ordered):
            step = ordered[stop] - ordered[position]
            while stop < len(ordered) and ordered[stop] - ordered[stop - 1] == step:
                stop += 1
        if stop - position < 3:
            parts.append(str(ordered[position]))
            position += 1
            continue
        suffix = "" if step == 1 else f":{step}"
        parts.append(f"{ordered[position]}-{ordered[stop - 1]}{suffix}")
        position = stop
    text = ",".join(parts)
    return text if len(text) < LONGEST_ATTRIBUTE // 2 else _pack_mask(ordered)


def unpack_indices(text: str) -> NDArray[np.int64]:
    """Index list of the text that ``pack_indices`` made.

    Raises:
        ValueError: it is not such a text, or names more than ``MOST_IMAGES``.

    >>> unpack_indices("0-3,9,20-40:10").tolist()
    [0, 1, 2, 3, 9, 20, 30, 40]
    """
    if text.startswith("mask:"):
        return _unpack_mask(text.removeprefix("mask:"))
    runs = [_run(part) for part in text.split(",") if part]
    if sum(map(len, runs)) > MOST_IMAGES:
        raise ValueError(text[:50])
    return np.concatenate([np.asarray(run, np.int64) for run in runs] or [np.empty(0, np.int64)])


def _run(part: str) -> range:
    bounds, _, step = part.partition(":")
    first, _, last = bounds.partition("-")
    run = range(int(first), int(last or first) + 1, int(step or 1))
    if run.stop > MOST_IMAGES or run.step < 1:  # before its length, which may exceed an integer
        raise ValueError(part[:50])
    return run


def _unpack_mask(text: str) -> NDArray[np.int64]:
    unpacking = zlib.decompressobj()
    try:
        packed = unpacking.decompress(base64.b64decode(text, validate=True), MOST_IMAGES // 8)
    except zlib.error as error:
        raise ValueError(text[:50]) from error
    if not unpacking.eof:
        raise ValueError(text[:50])
    return np.flatnonzero(np.unpackbits(np.frombuffer(packed, np.uint8))).astype(np.int64)


def _pack_mask(ordered: list[int]) -> str:
    mask = np.zeros(ordered[-1] + 1, bool)
    mask[ordered] = True
    return "mask:" + base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode()
