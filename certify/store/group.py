"""One analysis in a results file: a table, its settings, and small arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHECKSUM, row_checksums, seal

from .column import Column
from .image_log import append_images
from .layout import (
    changed_attributes,
    describe,
    pack_indices,
    read_attribute,
    unpack_indices,
    write_attributes,
)
from .schema import COMPUTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import h5py
    from numpy.typing import NDArray

    from robcert.certify.core import Kind

    from .result_file import ResultFile


SmallArray = tuple["NDArray[Any]", "Kind", str, str]
"""Values, kind of claim, description and units of an array of a whole group."""

_MARKS = (COMPUTED.name, CHECKSUM)
"""Columns that say which rows count."""


class AnalysisGroup:
    """Rows of one analysis with one set of settings.

    A row is identified by the image's index in the data set; in a table of samples by a number
    from 0.

    Attributes:
        path: path in the file, ``/attack/linf-quick-1f3a9c02``.
    """

    def __init__(self, store: ResultFile, path: str) -> None:
        self._store = store
        self.path = path

    @property
    def key(self) -> str:
        """Last part of ``path``."""
        return self.path.rsplit("/", 1)[1]

    @property
    def schema_name(self) -> str:
        """Name of the schema of this table."""
        return str(self._place.attrs["schema"])

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that the rows depend on."""
        settings = dict(self.attribute("settings"))
        settings.pop("indices", None)
        return settings

    @property
    def seed(self) -> int:
        """Seed of the random draws."""
        return int(self.attribute("seed"))

    @property
    def complete(self) -> bool:
        """Whether the last run finished; ``indices`` are its images."""
        return bool(self.attribute("complete"))

    @property
    def indices(self) -> NDArray[np.int64]:
        """Indices of the rows that a summary covers, ascending.

        Those of the last run that finished, or all finished rows if none did.
        """
        text = self.attribute("settings").get("indices")
        if text is not None:
            return unpack_indices(text)
        return np.sort(self._row_names()[self._mask()])

    @property
    def columns(self) -> list[str]:
        """Names of the columns that the table has."""
        axis = self._place.attrs["axis"]
        datasets = ((n, d) for n, d in self._place.items() if hasattr(d, "dims") and d.ndim)
        return [n for n, d in datasets if d.dims[0].label == axis and n not in _MARKS]

    def missing(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of ``indices`` without a finished row, in their order."""
        indices = np.asarray(indices, np.int64)
        return indices[~self.computed(indices)]

    def computed(self, indices: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which of ``indices`` (default: all rows) have a finished row."""
        mask = self._mask()
        if indices is None:
            return mask
        rows = self._rows(indices)
        finished = np.zeros(len(rows), bool)
        finished[rows >= 0] = mask[rows[rows >= 0]]
        return finished

    def column(self, name: str, indices: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Values of ``name`` for ``indices`` (default: all rows), the fill value where missing.

        Raises:
            StoreError: the table has no such column.
        """
        data = self._dataset(name)
        rows = np.arange(len(data)) if indices is None else self._rows(indices)
        finished = self.computed(indices)
        values = np.full((len(rows), *data.shape[1:]), data.fillvalue, data.dtype)
        if finished.any():
            wanted, where = np.unique(rows[finished], return_inverse=True)
            dense = len(wanted) * 4 > len(data) and not data.chunks
            values[finished] = (data[()][wanted] if dense else data[wanted])[where]
        return values

    def append(self, indices: NDArray[np.int64], rows: Mapping[str, NDArray[Any]]) -> None:
        """Write finished rows; they survive a kill once this returns.

        Args:
            indices: images (or sample rows) of the batch.
            rows: values by column, first axis as ``indices``; columns of images are optional.

        Raises:
            StoreError: a column is missing or unknown, or has the wrong length.
        """
        positions = self._rows(indices)
        order = np.argsort(positions)
        positions = positions[order]
        self._check(indices, positions, rows)
        self._store.publish()
        file, mask = self._store.file, self._place[COMPUTED.name]
        if mask[()][positions].any():
            with file.values():
                self._write(COMPUTED.name, positions, np.zeros(len(order)))
        with file.values():
            for name, values in rows.items():
                self._write(name, positions, np.asarray(values)[order])
            if len(order) and CHECKSUM in self._place:
                self._write(CHECKSUM, positions, self._checksums(list(rows), positions))
        with file.values():
            self._write(COMPUTED.name, positions, np.ones(len(order)))
        self._store.has_rows = True

    def finish(self, indices: NDArray[np.int64], **attributes: object) -> None:
        """Mark the table as complete for ``indices``, which must all have a row.

        Args:
            indices: the rows.
            attributes: set in the same change, so that no complete table lacks them.

        Raises:
            StoreError: some have none.
        """
        if len(lacking := self.missing(indices)):
            message = f"{self.path} has no row for {len(lacking)} of {len(indices)} images"
            raise StoreError(message)
        settings = dict(self.attribute("settings"))
        settings["indices"] = pack_indices(indices)
        self._store.fold_images()
        self.set_attributes(settings=settings, complete=True, **attributes)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Attribute ``name`` as it was set, lists and dictionaries included."""
        return read_attribute(self._place, name, default)

    def set_attributes(self, **values: object) -> None:
        """Set attributes in one change; numbers and strings as they are, the rest as JSON."""
        if changed := changed_attributes(self._place, values):
            with self._store.file.change() as file:
                write_attributes(file[self.path], changed)

    def save_array(
        self, name: str, array: NDArray[Any], *, kind: Kind, doc: str, units: str = ""
    ) -> None:
        """Store a small array of the whole group, for instance ``lipschitz/block_maxima``.

        Raises:
            StoreError: the table has a column of that name.
        """
        self.save_arrays({name: (array, kind, doc, units)})

    def save_arrays(self, arrays: Mapping[str, SmallArray], **attributes: object) -> None:
        """Store several small arrays and attributes in one change: a kill leaves all or none.

        Args:
            arrays: values, kind of claim, description and units, by name.
            attributes: as for :meth:`set_attributes`.

        Raises:
            StoreError: the table has a column of one of these names.
        """
        for name in arrays:
            if name in (*self.columns, *_MARKS):
                message = f"{self.path} has a column {name}: no array can have that name"
                raise StoreError(message)
        growth = sum(np.asarray(values).nbytes for values, *_ in arrays.values())
        with self._store.file.change(growth=growth) as file:
            place = file[self.path]
            for name, (values, kind, doc, units) in arrays.items():
                if name in place:
                    del place[name]
                data = place.create_dataset(name, data=np.asarray(values))
                describe(data, Column(name, data.dtype.str, kind, doc, units), ())
                seal(data)
            if attributes:
                write_attributes(place, attributes)

    def array(self, name: str) -> NDArray[Any]:
        """Array that ``save_array`` stored.

        Raises:
            StoreError: there is none of that name.
        """
        return np.asarray(self._dataset(name)[()])

    def __contains__(self, name: str) -> bool:
        return name in self._place

    @property
    def _place(self) -> h5py.Group:
        return self._store.file.hdf5[self.path]

    def _dataset(self, name: str) -> h5py.Dataset:
        if name not in self._place:
            message = f"{self.path} has no {name}"
            raise StoreError(message)
        return self._place[name]

    def _mask(self) -> NDArray[np.bool_]:
        return self._place[COMPUTED.name][()] == 1

    def _row_names(self) -> NDArray[np.int64]:
        if self._place.attrs["axis"] == "image":
            return self._store.indices
        return np.arange(len(self._place[COMPUTED.name]), dtype=np.int64)

    def _rows(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of ``indices`` along the first axis, -1 where they are not in the file."""
        indices = np.asarray(indices, np.int64)
        if self._place.attrs["axis"] == "image":
            return self._store.rows(indices)
        return np.where(indices < len(self._place[COMPUTED.name]), indices, -1)

    def _checksums(self, names: list[str], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Checksums of the rows at ``positions``, ascending, as the file has them.

        Args:
            names: all columns.
            positions: rows.
        """
        place, first, stop = self._place, int(positions[0]), int(positions[-1]) + 1
        data = {name: item for name in names if not (item := place[name]).chunks}
        return row_checksums(
            {name: item[first:stop][positions - first] for name, item in data.items()}
        )

    def _check(
        self, indices: NDArray[np.int64], rows: NDArray[np.int64], values: Mapping[str, Any]
    ) -> None:
        columns = set(self.columns)
        required = {c for c in columns if not self._place[c].chunks}
        problem = ""
        if lacking := required - set(values):
            problem = f"lack {', '.join(sorted(lacking))}"
        elif unknown := set(values) - columns:
            problem = f"have no column {', '.join(sorted(unknown))}"
        elif len(rows) and (rows[0] < 0 or (np.diff(rows) == 0).any()):
            problem = "name an image twice or one that is not in the file"
        else:
            for name, value in values.items():
                if np.shape(value) != (len(indices), *self._place[name].shape[1:]):
                    problem = f"have the shape {np.shape(value)} in {name}"
        if problem:
            message = f"rows for {self.path} {problem}"
            raise StoreError(message)

    def _write(self, name: str, positions: NDArray[np.int64], values: NDArray[Any]) -> None:
        data = self._place[name]
        if data.chunks:
            append_images(self._store.file.path, data, positions, values)
            return
        breaks = np.flatnonzero(np.diff(positions) != 1) + 1
        for where in np.split(np.arange(len(positions)), breaks):
            if len(where):
                data[positions[where[0]] : positions[where[-1]] + 1] = values[where]
