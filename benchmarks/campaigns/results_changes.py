"""Changes of a results file that HDF5 can read: attributes, shapes, types, links."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from robcert.certify.hdf5 import CHECKSUM

if TYPE_CHECKING:
    import random

NUMBERS = (0, 1, -1, 7, 10**9, -(2**63), 2**63 - 1, 1e300, -0.5, float("nan"), float("inf"))

TEXTS = ("", "null", "[]", "{}", "x" * 3000, "\x1b]0;a\x07", "[" * 50_000, "NaN", "9" * 6000)


def parts(file: h5py.File) -> list[h5py.Group | h5py.Dataset]:
    """Every group and array."""
    found: list[h5py.Group | h5py.Dataset] = [file["/"]]
    file.visititems(lambda _, item: found.append(item))
    return found


def arrays(file: h5py.File) -> list[h5py.Dataset]:
    """Every array."""
    return [item for item in parts(file) if isinstance(item, h5py.Dataset)]


def attribute_deleted(file: h5py.File, source: random.Random) -> None:
    item = _with_attributes(file, source)
    del item.attrs[source.choice(sorted(item.attrs))]


def attribute_of_another_value(file: h5py.File, source: random.Random) -> None:
    item = _with_attributes(file, source)
    values = (*NUMBERS, *TEXTS, [1.0, 2.0], h5py.Empty("f8"), True, np.bytes_(b"\xff\xfe"))
    item.attrs[source.choice(sorted(item.attrs))] = source.choice(values)


def attribute_of_another_part(file: h5py.File, source: random.Random) -> None:
    one, other = _with_attributes(file, source), _with_attributes(file, source)
    value = other.attrs[source.choice(sorted(other.attrs))]
    one.attrs[source.choice(sorted(one.attrs))] = value


def json_edited(file: h5py.File, source: random.Random) -> None:
    places = [
        (item, name)
        for item in parts(file)
        if isinstance(item, h5py.Group)
        for name, value in item.attrs.items()
        if isinstance(value, str) and value[:1] in ("{", "[")
    ]
    item, name = source.choice(places)
    value = json.loads(item.attrs[name])
    _edit(value, source)
    text = json.dumps(value)
    if len(text) < 60_000:
        item.attrs[name] = text


def number_changed(file: h5py.File, source: random.Random) -> None:
    data = source.choice([d for d in arrays(file) if d.dtype.kind in "iuf" and d.size])
    values = data[()]
    number = source.choice(NUMBERS)
    with np.errstate(all="ignore"):
        if data.dtype.kind == "f":
            new = np.float64(number).astype(data.dtype)
        else:
            limits = np.iinfo(data.dtype)
            plain = int(number) if np.isfinite(number) else 0
            new = data.dtype.type(max(limits.min, min(limits.max, plain)))
    values.flat[source.randrange(values.size)] = new
    data[()] = values


def shape_changed(file: h5py.File, source: random.Random) -> None:
    data = source.choice([d for d in arrays(file) if d.shape and d.dtype.kind != "O"])
    values = data[()]
    shapes = (
        values[:-1],
        np.concatenate([values, values]),
        values[..., None],
        values.reshape(-1),
        values[:0],
        values[0],
    )
    _replaced(data, source.choice(shapes))


def type_changed(file: h5py.File, source: random.Random) -> None:
    data = source.choice([d for d in arrays(file) if d.dtype.kind in "iuf"])
    kinds = ("f8", "f4", "i8", "i1", "u2", "?", "S4", "c16", [("a", "f8")])
    with np.errstate(all="ignore"):
        _replaced(data, np.zeros(data.shape, source.choice(kinds)))


def null_or_scalar(file: h5py.File, source: random.Random) -> None:
    _replaced(source.choice(arrays(file)), source.choice((h5py.Empty("f8"), 3.0, "text", 7)))


def absurd_shape(file: h5py.File, source: random.Random) -> None:
    data = source.choice([d for d in arrays(file) if d.shape])
    name, attributes = data.name, dict(data.attrs)
    shape = source.choice(((2**40,), (2**20, 2**20), (6, 2**31), (2**62,)))
    chunks = source.choice((None, tuple(min(n, 2**10) for n in shape)))
    del file[name]
    new = file.create_dataset(name, shape, data.dtype, chunks=chunks)
    new.attrs.update({k: v for k, v in attributes.items() if k != "DIMENSION_LABELS"})


def part_deleted(file: h5py.File, source: random.Random) -> None:
    del file[source.choice(parts(file)[1:]).name]


def part_moved(file: h5py.File, source: random.Random) -> None:
    one, other = source.choice(parts(file)[1:]).name, source.choice(parts(file)[1:]).name
    if not other.startswith(one) and not one.startswith(other):
        del file[other]
        file.move(one, other)


def link(file: h5py.File, source: random.Random) -> None:
    name = source.choice(parts(file)[1:]).name
    if source.random() < 0.5:
        del file[name]
    else:
        name += "-more"
    kinds: tuple[Any, ...] = (
        h5py.SoftLink(name),
        h5py.SoftLink("/data/index"),
        h5py.ExternalLink("other.h5", "/"),
        file["/"],
        file["/data"],
    )
    file[name] = source.choice(kinds)


def stored_elsewhere(file: h5py.File, source: random.Random) -> None:
    data = source.choice([d for d in arrays(file) if d.shape and d.dtype.kind != "O"])
    name, shape, dtype, size = data.name, data.shape, data.dtype, data.nbytes
    del file[name]
    if source.random() < 0.5:
        file.create_dataset(name, shape, dtype, external=[("other.bin", 0, size)])
    else:
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource("other.h5", "a", shape)
        file.create_virtual_dataset(name, layout)


CHANGES = (
    attribute_deleted,
    attribute_of_another_value,
    attribute_of_another_part,
    json_edited,
    number_changed,
    shape_changed,
    type_changed,
    null_or_scalar,
    absurd_shape,
    part_deleted,
    part_moved,
    link,
    stored_elsewhere,
)


def _with_attributes(file: h5py.File, source: random.Random) -> h5py.Group | h5py.Dataset:
    """A group or an array with attributes, a group as often as an array."""
    groups = [item for item in parts(file) if isinstance(item, h5py.Group) and len(item.attrs)]
    others = [item for item in arrays(file) if len(item.attrs)]
    return source.choice(source.choice((groups, others)))


def _replaced(data: h5py.Dataset, values: object) -> None:
    """Store ``values`` in place of ``data``, with its attributes."""
    file, name, attributes = data.file, data.name, dict(data.attrs)
    chunks = data.chunks is not None and getattr(values, "ndim", 0) > 0
    del file[name]
    new = file.create_dataset(name, data=values, **({"compression": "gzip"} if chunks else {}))
    new.attrs.update(attributes)


def _edit(value: Any, source: random.Random) -> None:
    """Replace or delete something inside the JSON value ``value``."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return
    key = source.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and source.random() < 0.7:
        _edit(value[key], source)
    elif source.random() < 0.3:
        del value[key]
    else:
        value[key] = source.choice((*NUMBERS[:8], "text", None, [], {}, [[1]], True, "0-3"))


def unseal(file: h5py.File) -> None:
    """Take all checksums away, so that changes reach what lies behind their check."""
    places: list[str] = []
    file.visit(places.append)
    for place in places:
        if place.endswith(f"/{CHECKSUM}"):
            del file[place]
        else:
            file[place].attrs.pop(CHECKSUM, None)
