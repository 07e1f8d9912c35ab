"""Joining results files that share model, data set and settings but not images.

Rows are copied whole, with their checksums. A row that several files hold must be the same in all,
apart from times. What a command stores when it ends, from all its images, is kept only where the
files agree on it; the same command on the joined file writes the rest and computes no row.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np

from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHECKSUM, seal

from .file import SafeFile
from .header import now, robcert_version
from .layout import (
    canonical_json,
    describe,
    pack_indices,
    read_attribute,
    write_attributes,
)
from .schema import COMPUTED, IMAGES
from .store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

RUN_ONLY = ("audit",)
"""Schemas of tables about a run as a whole, which have no rows to join."""

WHOLE_TABLE = ("schema", "schema_version", "axis", "seed")
"""Attributes that all rows of a table depend on, beside its settings."""

REPORTED: dict[str, Callable[[list[Any]], object]] = {
    "epsilons": lambda stored: sorted({radius for radii in stored for radius in radii}),
    "headline_epsilon": lambda stored: stored[0],
}
"""Attributes that say at which radii rows are reported, and what the joined file has of them where
rows do not depend on these radii: all of them, and first that of the first file."""

SECONDS = "s"
"""Unit of columns whose values differ from run to run."""


@dataclass(frozen=True, slots=True)
class MergedTable:
    """One table of the joined file.

    Attributes:
        path: its path.
        rows: finished rows.
        repeated: rows that more than one file holds.
        complete: whether a summary needs no further run.
    """

    path: str
    rows: int
    repeated: int
    complete: bool


def merge(
    sources: Sequence[Path], out: Path, *, overwrite: bool = False
) -> tuple[MergedTable, ...]:
    """Join results files into the new file ``out``.

    Args:
        sources: two or more results files of one model, data set, and settings.
        out: the new file; appears whole or not at all.
        overwrite: replace a file at ``out``.

    Raises:
        StoreError: ``out`` exists or is one of the files; the files have another model or data set
            each; a table is not in all of them; or they contradict each other on a row.
    """
    if len({path.resolve() for path in sources}) < max(2, len(sources)):
        message = "merge joins two or more different files"
        raise StoreError(message, hint="robcert merge a.h5 b.h5 --out all.h5")
    if out.resolve() in {path.resolve() for path in sources}:
        message = f"{out} is one of the files to join"
        raise StoreError(message, hint="give a new file")
    if out.exists() and not overwrite:
        message = f"{out} exists"
        raise StoreError(message, hint="give a new file, or pass --overwrite")
    with ExitStack() as stack:
        stores = [stack.enter_context(ResultStore.read(path)) for path in sources]
        _require_same(stores)
        paths = _common_tables(stores)
        file = SafeFile.write(out, overwrite=overwrite)
        stack.callback(file.close)
        size = sum(store.file.size for store in stores)
        with file.change(empty=True, growth=size) as target:
            joined = _Merge(stores, target)
            tables = tuple(joined.table(path, at) for at, path in enumerate(paths, 1))
        file.publish()
    return tables


def _require_same(stores: Sequence[ResultStore]) -> None:
    """Raise unless all files hold results of one model, used in one way, and of one data set."""
    first = stores[0]
    facts = (
        ("model", "sha256"),
        ("model", "preprocessing"),
        ("model", "output_name"),
        ("data", "sha256"),
    )
    for store in stores[1:]:
        for part, name in facts:
            here, there = (getattr(one, part).get(name) for one in (first, store))
            if canonical_json(here) != canonical_json(there):
                what = f"another {part}" if name == "sha256" else f"another {name} of the model"
                message = f"{store.path} holds results of {what} than {first.path}"
                raise StoreError(message, hint="join results of one model and one data set")


def _common_tables(stores: Sequence[ResultStore]) -> list[str]:
    """Paths of the tables, in the order of their creation in the first file.

    Raises:
        StoreError: a table is not in all files, or there is none.
    """
    found = [
        [path for path in store.tables if store.at(path).schema_name not in RUN_ONLY]
        for store in stores
    ]
    for store, paths in zip(stores, found, strict=True):
        for other, others in zip(stores, found, strict=True):
            if lacking := [path for path in others if path not in paths]:
                message = f"{store.path} has no {lacking[0].strip('/')}, which {other.path} has"
                hint = "repeat the command of the other file, with its settings and seed"
                raise StoreError(message, hint=hint)
    if not found[0]:
        message = f"{stores[0].path} holds no results"
        raise StoreError(message)
    return found[0]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which rows of the joined table come from which file.

    Attributes:
        n: rows of the joined table.
        finished: finished rows of each file's table, as positions in it.
        places: the positions of these in the joined table.
        new: which of these no earlier file has.
    """

    n: int
    finished: tuple[NDArray[np.int64], ...]
    places: tuple[NDArray[np.int64], ...]
    new: tuple[NDArray[np.bool_], ...]

    @classmethod
    def of(
        cls, tables: Sequence[h5py.Group], positions: Sequence[NDArray[np.int64]], n: int
    ) -> Self:
        """Of ``tables``, whose rows have ``positions`` in the joined one with ``n`` rows."""
        taken = np.zeros(n, bool)
        found = []
        for table, position in zip(tables, positions, strict=True):
            finished = np.flatnonzero(table[COMPUTED.name][()] == 1)
            new = ~taken[position[finished]]
            taken[position[finished]] = True
            found.append((finished, position[finished], new))
        return cls(
            n,
            tuple(finished for finished, _, _ in found),
            tuple(place for _, place, _ in found),
            tuple(new for _, _, new in found),
        )

    @property
    def held(self) -> NDArray[np.bool_]:
        """Rows of the joined table that a file has."""
        found = np.zeros(self.n, bool)
        found[np.concatenate(self.places)] = True
        return found

    @property
    def repeated(self) -> int:
        """Rows that a file has and an earlier one had."""
        return sum(int((~new).sum()) for new in self.new)


class _Merge:
    """One joined file in work."""

    def __init__(self, stores: Sequence[ResultStore], target: h5py.File) -> None:
        self._stores = stores
        self._target = target
        images = np.concatenate([store.indices for store in stores])
        self._images, first = np.unique(images, return_index=True)
        labels = np.concatenate([store.labels for store in stores])
        for store in stores:
            joined = labels[first][np.searchsorted(self._images, store.indices)]
            if odd := store.indices[store.labels != joined].tolist():
                self._contradiction("/data", "label", f"image {odd[0]}")
        self._header(labels[first])

    def _header(self, labels: NDArray[np.int32]) -> None:
        """Header, model, data set and list of images."""
        first = self._stores[0].file.hdf5
        self._target.attrs.update(first.attrs)
        self._target.attrs["robcert_version"] = robcert_version()
        self._target.attrs["created"] = now()
        for name in ("model", "data"):
            place = self._target.create_group(name)
            place.attrs.update(first[name].attrs)
            for item in first[name]:
                if first[name][item].shape == ():  # a long text
                    first.copy(f"{name}/{item}", place)
        for column, values in zip(IMAGES, (self._images, labels), strict=True):
            content = values.astype(column.dtype)
            data = self._target["data"].create_dataset(column.name, data=content, fillvalue=-1)
            describe(data, column, ("image",))
            seal(data)

    def table(self, path: str, number: int) -> MergedTable:
        """Join the tables at ``path``; the joined one is the ``number``-th of its file."""
        tables = [store.file.hdf5[path] for store in self._stores]
        if odd := _differing(tables):
            self._contradiction(path, odd, "all rows")
        by_image = tables[0].attrs["axis"] == "image"
        if by_image:
            names = self._images
            positions = [np.searchsorted(names, store.indices) for store in self._stores]
        else:
            names = np.arange(max(len(table[COMPUTED.name]) for table in tables))
            positions = [np.arange(len(table[COMPUTED.name])) for table in tables]
        rows = _Rows.of(tables, positions, len(names))
        columns = self._columns_of_all(path, tables)
        joined = self._target.create_group(path)
        for name in columns:
            for at in self._column(joined, name, tables, rows):
                which = f"{'image' if by_image else 'sample'} {names[at]}"
                self._contradiction(path, name, which)
        computed = joined.create_dataset(COMPUTED.name, data=rows.held.astype("i1"), fillvalue=0)
        _describe_like(tables[0][COMPUTED.name], computed)
        joined.attrs["complete"] = _copy_common_arrays(tables, joined, columns)
        complete = _join_attributes(tables, joined, number, names[rows.held])
        return MergedTable(path, int(rows.held.sum()), rows.repeated, complete)

    def _column(
        self, joined: h5py.Group, name: str, tables: Sequence[h5py.Group], rows: _Rows
    ) -> NDArray[np.int64]:
        """Write one column, each row from the first file that has it.

        Returns:
            Rows of which two files have different values.
        """
        first = tables[0][name]
        fill = np.full((rows.n, *first.shape[1:]), first.fillvalue, first.dtype)
        values = _empty_images(joined, name, first, rows.n) if first.chunks else fill
        varies = first.attrs.get("units") == SECONDS or name == CHECKSUM
        differ: list[int] = []
        for table, finished, places, new in zip(
            tables, rows.finished, rows.places, rows.new, strict=True
        ):
            if first.chunks:
                for at, place, is_new in zip(finished, places, new, strict=True):
                    image = table[name][at]
                    if is_new:
                        values[place] = image
                    elif not _same(values[place], image):
                        differ.append(int(place))
                continue
            found = table[name][()][finished]
            differ += [
                int(place)
                for place, value in zip(places[~new], found[~new], strict=True)
                if not varies and not _same(values[place], value)
            ]
            values[places[new]] = found[new]
        if not first.chunks:
            joined.create_dataset(name, data=values, fillvalue=first.fillvalue)
        _describe_like(first, joined[name])
        return np.array(differ, np.int64)

    def _columns_of_all(self, path: str, tables: Sequence[h5py.Group]) -> list[str]:
        """Columns of the tables at ``path``.

        Raises:
            StoreError: one file has a column that another lacks.
        """
        found = [_columns(table) for table in tables]
        for store, names in zip(self._stores[1:], found[1:], strict=True):
            if odd := sorted(set(names) ^ set(found[0])):
                files = f"{self._stores[0].path} and {store.path}"
                message = f"of {files} one alone has the column {odd[0]} in {path.strip('/')}"
                hint = "they are of different versions of robcert: repeat the older run"
                raise StoreError(message, hint=hint)
        for name in found[0]:
            if len({(table[name].shape[1:], table[name].dtype) for table in tables}) > 1:
                self._contradiction(path, f"the axes or type of {name}", "all rows")
        return found[0]

    def _contradiction(self, path: str, name: str, which: str) -> None:
        files = " and ".join(str(store.path) for store in self._stores)
        message = f"{files} have different values of {name} for {which} in {path.strip('/')}"
        hint = "one is damaged, or of another version or device: repeat that run"
        raise StoreError(message, hint=hint)


def _differing(tables: Sequence[h5py.Group]) -> str:
    """What all rows depend on and is not the same in all ``tables``; empty if all of it is."""
    found = [{name: read_attribute(table, name) for name in WHOLE_TABLE} for table in tables]
    for table, values in zip(tables, found, strict=True):
        settings = dict(read_attribute(table, "settings"))
        settings.pop("indices", None)
        values["settings"] = settings
    for name, value in found[0].items():
        if any(canonical_json(other[name]) != canonical_json(value) for other in found[1:]):
            return name
    return ""


def _columns(table: h5py.Group) -> list[str]:
    """Columns of a table but that which says whether a row is finished."""
    axis, n = table.attrs["axis"], len(table[COMPUTED.name])
    return [
        name
        for name, item in table.items()
        if isinstance(item, h5py.Dataset)
        and item.shape
        and len(item) == n
        and item.dims[0].label == axis
        and name != COMPUTED.name
    ]


def _has_axis(table: h5py.Group, axis: str) -> bool:
    """Whether a column of ``table`` has ``axis`` after its first one."""
    arrays = (item for item in table.values() if isinstance(item, h5py.Dataset))
    return any(dim.label == axis for item in arrays for dim in list(item.dims)[1:])


def _same(one: object, other: object) -> bool:
    """Whether two values have the same bits."""
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def _empty_images(joined: h5py.Group, name: str, like: h5py.Dataset, n: int) -> h5py.Dataset:
    return joined.create_dataset(
        name,
        (n, *like.shape[1:]),
        like.dtype,
        maxshape=like.maxshape,
        chunks=like.chunks,
        compression="gzip",
        shuffle=True,
        fillvalue=like.fillvalue,
    )


def _describe_like(source: h5py.Dataset, target: h5py.Dataset) -> None:
    """Copy the description of a column and the names of its axes."""
    for name in ("doc", "units", "kind"):
        target.attrs[name] = source.attrs[name]
    for position, axis in enumerate(source.dims):
        target.dims[position].label = axis.label


def _copy_common_arrays(
    tables: Sequence[h5py.Group], joined: h5py.Group, columns: Sequence[str]
) -> bool:
    """Copy arrays of the whole analysis that all files have alike; False if any was left out."""
    found: list[set[str]] = []
    for table in tables:
        names: set[str] = set()
        _collect_arrays(table, "", {*columns, COMPUTED.name}, names)
        found.append(names)
    common = {
        name
        for name in set.intersection(*found)
        if all(_same(table[name][()], tables[0][name][()]) for table in tables[1:])
    }
    for name in sorted(common):
        parent = joined.require_group(name.rsplit("/", 1)[0]) if "/" in name else joined
        tables[0].copy(name, parent)
    return all(names == common for names in found)


def _collect_arrays(group: h5py.Group, prefix: str, skip: set[str], found: set[str]) -> None:
    """Names of arrays in ``group`` and below, other tables and long texts left out."""
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            if "schema" not in item.attrs:
                _collect_arrays(item, f"{prefix}{name}/", set(), found)
        elif item.shape and name not in skip:
            found.add(f"{prefix}{name}")


def _join_attributes(
    tables: Sequence[h5py.Group], joined: h5py.Group, number: int, rows: NDArray[np.int64]
) -> bool:
    """Write the attributes; whether the joined table is complete.

    It is not if one that the files disagree on was left out: the command has yet to write it.

    Args:
        tables: those of the files.
        joined: the joined table; not complete if it says so.
        number: its number in its file.
        rows: names of its finished rows.
    """
    texts = (
        {name for name, item in table.items() if getattr(item, "shape", None) == ()}
        for table in tables
    )
    names = {*itertools.chain(*(table.attrs for table in tables), *texts)} - {CHECKSUM}
    found = {name: [read_attribute(table, name) for table in tables] for name in sorted(names)}
    settings = [dict(one) for one in found["settings"]]
    for one in settings:
        one.pop("indices", None)
    values = {"number": number, "settings": settings[0], "created": min(found["created"])}
    if "failed" in found:
        every = {at: why for one in found["failed"] for at, why in (one or {}).items()}
        held = {str(row) for row in rows}
        values["failed"] = {at: why for at, why in every.items() if at not in held}
    complete = bool(joined.attrs["complete"]) and all(found.pop("complete"))
    for name, stored in found.items():
        if name in values:
            continue
        if len({canonical_json(one) for one in stored}) == 1:
            values[name] = stored[0]
        elif name in REPORTED and None not in stored and not _has_axis(joined, "epsilon"):
            values[name] = REPORTED[name](stored)
        else:
            complete = False
    if complete:
        values["settings"] = {**settings[0], "indices": pack_indices(rows)}
    write_attributes(joined, {**values, "complete": complete})
    return complete
