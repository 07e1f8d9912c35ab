"""Copies what is whole in a damaged results file into a new one; runs in a child process.

A row is whole where it is finished and the values of every column lie inside the file and can be
read, and fit the checksum of the row; files of older versions have none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h5py
import numpy as np

from .checksums import CHANGED, CHECKSUM, is_as_written, rows_as_written, seal
from .contents import FAULTS, SECOND_NAME, Fault, address_of, described, member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FINISHED = "computed"
"""Column that is 1 where the row is finished."""

HEADER = ("/model", "/data")
"""Groups without which no row means anything."""

CRASHES = "the HDF5 library crashes while it reads this"

LOST = (*FAULTS, MemoryError)


@dataclass(frozen=True, slots=True)
class RescuedTable:
    """One table of a damaged file.

    Attributes:
        place: its path in the file.
        whole: rows that are finished and whole.
        finished: rows that were finished.
    """

    place: str
    whole: int
    finished: int


@dataclass(frozen=True, slots=True)
class Rescued:
    """The readable part of a results file.

    Attributes:
        tables: tables whose rows were found.
        faults: the parts that cannot be read.
        header: why no row can be saved; empty if the header is whole.
    """

    tables: tuple[RescuedTable, ...]
    faults: tuple[Fault, ...]
    header: str = ""


def stored_size(path: Path) -> int:
    """Size of a file in bytes as its first block states it; 0 if it has no such block."""
    with path.open("rb") as file:
        head = file.read(64)
    start = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8]) if len(head) == 64 else None
    return 0 if start is None else int.from_bytes(head[start : start + 8], "little")


@dataclass(slots=True)
class Rescue:
    """One attempt to copy what is whole.

    Attributes:
        size: bytes that the damaged file has; what lies beyond is lost.
        skip: parts that crashed an earlier attempt.
        tell: called with the path of each part before it is read.
    """

    size: int
    skip: frozenset[str]
    tell: Callable[[str], None]
    _faults: list[Fault] = field(default_factory=list)
    _tables: list[RescuedTable] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def run(self, source: h5py.File, target: h5py.File) -> Rescued:
        """Copy what is whole of ``source`` into the empty file ``target``."""
        try:
            self.tell("/")
            self._seen.add(address_of(source["/"]))
            _copy_attributes(source, target)
        except LOST as error:
            return Rescued((), (), described(error))
        found = dict(self._members("", source))
        for place in HEADER:
            if place in found:
                self._copy(place, found.pop(place), target)
        for fault in self._faults:
            if fault.place.startswith(HEADER) or not fault.place:
                return Rescued((), (), f"{fault.place} {fault.reason}".strip())
        for path, item in found.items():
            self._copy(path, item, target)
        return Rescued(tuple(self._tables), tuple(self._faults))

    def _members(
        self, place: str, group: h5py.Group
    ) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
        """The readable parts of ``group``; faults are noted."""
        try:
            names = list(group)
        except LOST as error:
            self._faults.append(Fault(place, described(error)))
            return
        for name in names:
            if (path := f"{place}/{name}") in self.skip:
                self._faults.append(Fault(path, CRASHES))
                continue
            self.tell(path)
            item = member(group, name)
            if isinstance(item, Fault):
                self._faults.append(item)
            elif (address := address_of(item)) in self._seen:
                self._faults.append(Fault(path, SECOND_NAME))
            else:
                self._seen.add(address)
                yield path, item

    def _copy(self, path: str, item: h5py.Group | h5py.Dataset, target: h5py.File) -> None:
        """Copy one part; faults are noted."""
        try:
            if isinstance(item, h5py.Dataset):
                self._copy_array(path, item, target)
            elif "schema" in item.attrs:
                self._copy_table(path, item, target.create_group(path))
            else:
                self._copy_whole(path, item, target.create_group(path))
        except LOST as error:
            self._faults.append(Fault(path, described(error)))
            if path in target:
                del target[path]

    def _copy_whole(self, place: str, group: h5py.Group, target: h5py.Group) -> None:
        """Copy a group that is no table."""
        _copy_attributes(group, target)
        for path, item in self._members(place, group):
            self._copy(path, item, target.file)

    def _copy_array(self, path: str, data: h5py.Dataset, target: h5py.File) -> None:
        """Copy an array all of which is needed."""
        if not _inside(data, self.size).all():
            message = "lies behind the end of the file"
            raise ValueError(message)
        if not is_as_written(data):
            message = f"has other values {CHANGED}"
            raise ValueError(message)
        values = data.asstr()[()] if data.dtype.kind == "O" else data[()]
        copied = target.create_dataset(path, data=values)
        _describe(data, copied)
        if CHECKSUM in data.attrs:
            seal(copied)

    def _copy_table(self, place: str, group: h5py.Group, target: h5py.Group) -> None:
        """Copy the whole rows of a table, and what else belongs to it."""
        _copy_attributes(group, target)
        axis, mask = str(group.attrs["axis"]), group[FINISHED]
        finished = _inside(mask, self.size)
        finished &= mask[()] == 1
        whole, columns = finished.copy(), dict[str, h5py.Dataset]()
        for path, item in self._members(place, group):
            if not _is_column(item, axis, len(finished)):
                self._copy(path, item, target.file)
            elif item.name.rsplit("/", 1)[1] != FINISHED:
                try:
                    whole &= _readable(item, self.size, whole)
                    columns[path] = item
                except LOST as error:
                    self._faults.append(Fault(path, described(error)))
        whole = self._as_written(place, columns, whole)
        for path, data in columns.items():
            _describe(data, _copy_column(target.file, path, data, whole))
        _describe(mask, target.create_dataset(FINISHED, data=whole.astype("i1"), fillvalue=0))
        self._tables.append(RescuedTable(place, int(whole.sum()), int(finished.sum())))
        if whole.sum() < finished.sum():
            _forget_images(target)

    def _as_written(
        self, place: str, columns: dict[str, h5py.Dataset], rows: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which of ``rows`` of the table at ``place`` fit their checksum; a fault if one does not.

        All do in a table that lacks a column: it is not valid, whatever its rows are.
        """
        plain = {path.rsplit("/", 1)[1]: data for path, data in columns.items() if not data.chunks}
        if CHECKSUM not in plain or any(f.place.startswith(f"{place}/") for f in self._faults):
            return rows
        checksums = plain.pop(CHECKSUM)[()]
        found = rows & rows_as_written(checksums, {n: data[()] for n, data in plain.items()})
        if count := int(rows.sum() - found.sum()):
            self._faults.append(
                Fault(place, f"has other values in {count} finished rows {CHANGED}")
            )
        return found


def _is_column(item: h5py.Group | h5py.Dataset, axis: str, rows: int) -> bool:
    """Whether ``item`` has one value per row."""
    if not isinstance(item, h5py.Dataset) or not item.shape:
        return False
    return bool(item.dims[0].label == axis and len(item) == rows)


def _inside(data: h5py.Dataset, size: int) -> NDArray[np.bool_]:
    """Which rows of ``data`` lie within the first ``size`` bytes; one entry for a single value."""
    rows = len(data) if data.shape else 1
    start = data.id.get_offset() if data.chunks is None else None
    if start is None:  # in chunks, which HDF5 checks, or within the header
        return np.ones(rows, bool)
    if rows > size:
        message = f"has {rows} rows, more than the file has bytes"
        raise ValueError(message)
    return start + (np.arange(rows) + 1) * (data.nbytes // max(rows, 1)) <= size


def _readable(data: h5py.Dataset, size: int, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of ``rows`` of ``data`` can be read, of a column in chunks; else a fault is raised."""
    if data.chunks is None:
        data[()]
        return _inside(data, size)
    found = rows.copy()
    for row in np.flatnonzero(rows):
        try:
            data[row]
        except LOST:
            found[row] = False
    return found


def _copy_column(
    target: h5py.File, path: str, data: h5py.Dataset, whole: NDArray[np.bool_]
) -> h5py.Dataset:
    """A column like ``data``; of a column in chunks the rows that are ``whole``."""
    if data.chunks is None:
        return target.create_dataset(path, data=data[()], fillvalue=data.fillvalue)
    column = target.create_dataset(
        path,
        data.shape,
        data.dtype,
        maxshape=data.maxshape,
        chunks=data.chunks,
        compression="gzip",
        shuffle=True,
        fillvalue=data.fillvalue,
    )
    for row in np.flatnonzero(whole):
        column[row] = data[row]
    return column


def _copy_attributes(source: h5py.Group, target: h5py.Group) -> None:
    if not is_as_written(source):
        message = f"has other attributes {CHANGED}"
        raise ValueError(message)
    for name, value in source.attrs.items():
        target.attrs[name] = value


def _describe(data: h5py.Dataset, target: h5py.Dataset) -> None:
    """Copy the description of ``data`` and the names of its axes."""
    for name in ("doc", "units", "kind"):
        if name in data.attrs:
            target.attrs[name] = data.attrs[name]
    for position, axis in enumerate(data.dims):
        target.dims[position].label = axis.label


def _forget_images(table: h5py.Group) -> None:
    """Let ``table`` be one whose run did not finish: it has lost rows."""
    table.attrs["complete"] = False
    settings = json.loads(table.attrs["settings"])
    settings.pop("indices", None)
    table.attrs["settings"] = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    if CHECKSUM in table.attrs:
        seal(table)
