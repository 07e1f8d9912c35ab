"""Checksums of what a results file holds: rows, arrays and attributes.

HDF5's own checksums need arrays in chunks, whose rows cannot be written one by one without a moment
at which a kill leaves a chunk that no longer fits its checksum. Here each row has its own, written
before the row counts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from zlib import crc32

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CHECKSUM = "checksum"
"""Name of the column with checksums of rows, and of the attribute of arrays and groups."""

CHANGED = "than were written"
"""End of what a fault says of values or attributes that do not fit their checksum."""

_START = 0x9E3779B97F4A7C15
"""Checksum of a row without values, so that zeros are no valid row."""


def row_checksums(columns: Mapping[str, NDArray[np.generic]]) -> NDArray[np.int64]:
    """A checksum for each row of ``columns``, which are arrays of numbers ``(n, ...)`` by name.

    The bits of each number are scrambled with a key of its column and position, and the results
    added modulo 2^64: a change of one number is always found, others but for one in about 2^64.
    """
    (rows,) = {len(values) for values in columns.values()}
    total = np.full(rows, _START, np.uint64)
    for name, values in columns.items():
        stored = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        stored = stored.reshape(rows, math.prod(values.shape[1:]))
        words = stored.view(f"<u{stored.dtype.itemsize}").astype(np.uint64)
        total += _scrambled(words ^ _keys(name, words.shape[1])).sum(1, dtype=np.uint64)
    return total.view(np.int64)


def _keys(name: str, count: int) -> NDArray[np.uint64]:
    """A key for each of the ``count`` numbers that the column ``name`` has in a row."""
    start = crc32(name.encode()) << 32
    return np.arange(start, start + count, dtype=np.uint64) * np.uint64(_START)


def _scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, by which different numbers remain different."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def rows_as_written(
    checksums: NDArray[np.int64], columns: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.bool_]:
    """Which rows of ``columns`` have the stored ``checksums``."""
    return row_checksums(columns) == checksums if columns else np.ones(len(checksums), bool)


def seal(item: h5py.Group | h5py.Dataset) -> None:
    """Store the checksum of an array's values, or of a group's attributes."""
    item.attrs[CHECKSUM] = np.int64(_checksum(item))


def is_as_written(item: h5py.Group | h5py.Dataset) -> bool:
    """Whether the checksum of ``item`` is right; true if it has none, as in older files."""
    return CHECKSUM not in item.attrs or bool(item.attrs[CHECKSUM] == _checksum(item))


def _checksum(item: h5py.Group | h5py.Dataset) -> int:
    """CRC-32 of an array's values, or of the attributes and long texts of a group."""
    if isinstance(item, h5py.Dataset):
        return crc32(_bits(item[()]))
    parts = {name: value for name, value in item.attrs.items() if name != CHECKSUM}
    for name, member in item.items():
        if isinstance(member, h5py.Dataset) and member.shape == () and member.dtype.kind == "O":
            parts[name] = member.asstr()[()]
    total = 0
    for name in sorted(parts):
        total = crc32(_bits(parts[name]), crc32(name.encode() + b"\0", total))
    return total


def _bits(value: object) -> bytes:
    """A text, or type, shape and bits of a number or array of numbers."""
    if isinstance(value, str):
        return value.encode()
    array = np.asarray(value)
    stored = array.astype(array.dtype.newbyteorder("<"))
    return f"{stored.dtype.str}{stored.shape}".encode() + stored.tobytes()
