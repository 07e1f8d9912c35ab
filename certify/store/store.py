"""The results file: one HDF5 file for one model and one data set (docs/schema.md)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Self

import h5py

from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHECKSUM, written_here

from .column import KNOWN
from .file import SafeFile
from .group import AnalysisGroup
from .header import begin, now, require_results, require_same, require_same_use
from .layout import (
    canonical_json,
    changed_attributes,
    create_table,
    read_attribute,
    settings_digest,
    table_bytes,
    write_attributes,
)
from .result_file import ResultFile
from .schema import CLASSES, COMPUTED
from .soundness import contradicts_itself

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from robcert.certify.data import DataInfo
    from robcert.certify.model import ModelInfo

    from .column import Schema

__all__ = ["INPUT_STEP", "OF_MODEL", "AnalysisGroup", "ResultStore"]

INPUT_STEP = "input_step"
"""Name that the level of an integer input has among the stored settings of a table."""

NUMBER = "number"
"""Attribute of a table that says which of the file it is, counted from 1 by creation."""

ROUNDING_OF_INPUT = "input_rounding"
"""Name that the way in which images are rounded to those levels has there."""

SLOPE_OF_SIGN = "sign_slope"
"""Name that the slope in place of that of Sign has there."""

OF_MODEL = frozenset({INPUT_STEP, ROUNDING_OF_INPUT, SLOPE_OF_SIGN})
"""Stored settings that follow from the model."""

KEEPS_LENGTH = "length"
"""Perturbations keep their length in l2 and l1 when they are rounded to the levels of an integer
input; earlier versions rounded each pixel."""

SIGN_SLOPE = "cauchy"
"""The slope that stands in for that of Sign; one of the settings of every table of a model that has
such a node, because earlier versions took another."""


class ResultStore(ResultFile):
    """Results of one model on one data set; a context manager."""

    def __init__(self, file: SafeFile) -> None:
        super().__init__(file)
        self._tables_of: h5py.File | None = None  # the file whose tables are known
        self._all_tables: list[tuple[str, tuple[int, str, str]]] = []

    @classmethod
    def open(cls, path: Path, *, model: ModelInfo, data: DataInfo, overwrite: bool = False) -> Self:
        """Results file at ``path`` for writing; created if there is none.

        A new file appears with its first row, and replaces an old one (``overwrite``) only then;
        likewise a new table in an existing file. A run that fails earlier changes nothing.
        Temporary files of a killed run are removed.

        Raises:
            StoreError: another program is writing the file, it holds results of another model or
                data set, it is not a results file, or the path cannot be written.
        """
        file = SafeFile.write(path, overwrite=overwrite)
        try:
            if file.published:
                require_results(file)
                require_same(file, "model", model.sha256, model.file)
                require_same_use(file, model)
                require_same(file, "data", data.sha256, data.name)
            else:
                begin(file, model, data)
            store = cls(file)
            store.load_indices()
            store.fold_images()
            file.stage()
        except BaseException:
            file.close()
            raise
        return store

    @classmethod
    def read(cls, path: Path) -> Self:
        """Results file at ``path`` for reading.

        Raises:
            StoreError: it does not exist, is not a results file, or is of an unknown version.
        """
        file = SafeFile.read(path)
        try:
            require_results(file)
            store = cls(file)
            store.load_indices()
        except BaseException:
            file.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        foreign = not self.file.writable and not written_here(self.path)
        try:
            if kind is None and (self._begun or not self._replaces):
                self.publish()
        finally:
            self.close()
        if foreign and contradicts_itself(error):
            message = f"{self.path} cannot be evaluated: {type(error).__name__}: {error}"
            hint = (
                f"robcert doctor {self.path} tells whether it is damaged; if it is not, report "
                "this with the traceback that --debug shows"
            )
            raise StoreError(message, hint=hint) from error

    def close(self) -> None:
        """Close the file; changes that wait for a first row are discarded."""
        try:
            if not self._replaces:
                self.file.discard()
            self.fold_images()
        finally:
            self.file.close()

    def bytes_for(self, images: int) -> int:
        """Expected size of the file with ``images`` images in all of its tables."""
        self.fold_images()
        here = len(self.indices)
        each = 2 * 8 + sum(
            self._row_bytes(path) for _, _, path in self._tables() if self._of_images(path)
        )
        return round(max(0.0, self.file.size - here * each) + images * each)

    def _of_images(self, path: str) -> bool:
        return str(self.file.hdf5[path].attrs["axis"]) == "image"

    def _row_bytes(self, path: str) -> float:
        """Bytes on the disk of a row of the table at ``path``; chunks exist for computed rows."""
        place, group = self.file.hdf5[path], self.at(path)
        done = max(1, int(group.computed().sum()))
        columns = [place[name] for name in (*group.columns, COMPUTED.name, CHECKSUM)]
        return sum(
            data.id.get_storage_size() / (done if data.chunks else max(1, len(data)))
            for data in columns
        )

    @property
    def header(self) -> dict[str, Any]:
        """Format, versions and time of creation."""
        return {name: read_attribute(self.file.hdf5, name) for name in self.file.hdf5.attrs}

    @property
    def model(self) -> dict[str, Any]:
        """Facts about the model, as stored."""
        return self._attributes("model")

    def note_doubts(self, doubts: tuple[str, ...]) -> None:
        """Keep the signs that the model does not get the input it expects, with its facts."""
        place, values = self.file.hdf5["model"], {"doubts": list(doubts)}
        if changed_attributes(place, values):
            with self.file.change() as file:
                write_attributes(file["model"], values)

    @property
    def data(self) -> dict[str, Any]:
        """Facts about the data set, as stored, without the names of its classes."""
        facts = self._attributes("data")
        return {name: value for name, value in facts.items() if name != CLASSES}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by number; empty where the data set has none."""
        names = self._attributes("data").get(CLASSES) or ()
        return tuple(map(str, names)) if isinstance(names, list | tuple) else ()

    def describe_model(self, **values: object) -> None:
        """Add facts about the model (parity, preprocessing, …); lists and dictionaries as JSON."""
        if changed := changed_attributes(self.file.hdf5["model"], values):
            with self.file.change() as file:
                write_attributes(file["model"], changed)

    def group(
        self,
        schema: Schema,
        *,
        prefix: str,
        settings: object,
        seed: int,
        sizes: Mapping[str, int] | None = None,
        n_rows: int | None = None,
    ) -> AnalysisGroup:
        """The table for these settings, new or resumed.

        Args:
            schema: its columns.
            prefix: readable part of the key; empty for a table without settings.
            settings: frozen dataclass of all settings that the rows depend on, except the seed.
            seed: seed of the random draws.
            sizes: lengths of the axes after the first.
            n_rows: rows of a table of samples; a table of images has one row per known image.
        """
        path, settings = f"/{schema.name}", self._with_model(settings)
        if prefix:
            digest = settings_digest(seed, settings)
            path += f"/{re.sub(r'[^A-Za-z0-9.+-]+', '-', prefix)}-{digest}"
        return self._resumed(path, schema) or self._created(
            path,
            schema,
            {"settings": canonical_json({} if settings is None else settings), "seed": seed},
            len(self.indices) if n_rows is None else n_rows,
            sizes or {},
        )

    def sample_group(
        self,
        parent: AnalysisGroup,
        schema: Schema,
        *,
        settings: object,
        sizes: Mapping[str, int],
        n_rows: int,
    ) -> AnalysisGroup:
        """The table of samples below the table ``parent``, with its seed; new or resumed.

        Args:
            parent: the table that the samples belong to.
            schema: columns of the samples.
            settings: frozen dataclass of all settings that the samples depend on, except the seed.
            sizes: lengths of the axes after the first.
            n_rows: number of samples.
        """
        path = f"{parent.path}/{schema.name}"
        return self._resumed(path, schema) or self._created(
            path,
            schema,
            {"settings": canonical_json(self._with_model(settings)), "seed": parent.seed},
            n_rows,
            sizes,
        )

    @property
    def input_step(self) -> float | None:
        """The level of the model's integer input, pixel units; None for a floating-point input."""
        preprocessing = self.model.get("preprocessing")
        if not isinstance(preprocessing, dict) or "int" not in preprocessing.get("dtype", ""):
            return None
        from robcert.certify.model import (
            InputGrid,  # only here: files are read without torch, which it needs
        )

        grid = InputGrid.of_stored(preprocessing)
        return None if grid is None else grid.step

    def _with_model(self, settings: object) -> object:
        """``settings`` with what rows depend on besides: levels of an integer input, slope of Sign.

        Tables of earlier versions, whose images were rounded in another way or not at all, and
        whose slope was another, have other keys.
        """
        step, nodes = self.input_step, self.model.get("straight_through") or ()
        found: dict[str, object] = {}
        if step is not None:
            found |= {INPUT_STEP: step, ROUNDING_OF_INPUT: KEEPS_LENGTH}
        if any(str(node).endswith("(Sign)") for node in nodes):
            found[SLOPE_OF_SIGN] = SIGN_SLOPE
        if settings is None or not found:
            return settings
        return {**json.loads(canonical_json(settings)), **found}

    def _resumed(self, path: str, schema: Schema) -> AnalysisGroup | None:
        """The table at ``path``, None if there is none."""
        if path not in self.file.hdf5:
            return None
        found = self._checked(path, schema)
        self.has_rows |= bool(found.computed().any())
        return found

    def _created(
        self,
        path: str,
        schema: Schema,
        key: Mapping[str, object],
        rows: int,
        sizes: Mapping[str, int],
    ) -> AnalysisGroup:
        """A new table at ``path`` without a finished row; ``key`` holds its settings and seed."""
        self.file.stage()
        with self.file.change(growth=table_bytes(schema, rows, sizes)) as file:
            place = file.create_group(path)
            attributes = {
                "schema": schema.name,
                "schema_version": schema.version,
                "doc": schema.doc,
                "axis": schema.axis,
                **key,
                "complete": False,
                "created": now(),
                NUMBER: 1 + max((number for number, _, _ in self._tables()), default=0),
            }
            write_attributes(place, attributes)
            create_table(place, schema, rows, sizes)
        self._begun = True
        return AnalysisGroup(self, path)

    def existing(self, schema_name: str) -> list[AnalysisGroup]:
        """All tables of the schema called ``schema_name``, in the order of their creation."""
        return [self.at(path) for _, _, path in sorted(self._tables(schema_name))]

    @property
    def tables(self) -> list[str]:
        """Paths of all tables, in the order of their creation."""
        return [path for _, _, path in sorted(self._tables())]

    def _tables(self, schema_name: str | None = None) -> list[tuple[int, str, str]]:
        """Number, time of creation and path of all tables, or of those of one schema.

        The number is 0 in files of versions that had none; the time orders these.
        """
        file = self.file.hdf5  # another object after every change of structure
        if self._tables_of is not file:
            self._tables_of, self._all_tables = file, self._found_tables()
        return [where for schema, where in self._all_tables if schema_name in (None, schema)]

    def _found_tables(self) -> list[tuple[str, tuple[int, str, str]]]:
        """Schema of every table, and what :meth:`_tables` tells of it."""
        found: list[tuple[str, tuple[int, str, str]]] = []
        waiting = [self.file.hdf5["/"]]
        while waiting:
            group = waiting.pop()
            schema = group.attrs.get("schema")
            if schema is not None:
                number = int(read_attribute(group, NUMBER, 0))
                found.append((schema, (number, str(group.attrs["created"]), str(group.name))))
            # arrays are most of a file, and slow to open
            inside = (name for name in group if group.get(name, getclass=True) is h5py.Group)
            waiting += [group[name] for name in inside]
        return found

    def at(self, path: str) -> AnalysisGroup:
        """The table at ``path``, for instance ``attack/linf-quick-1f3a9c02``.

        Raises:
            StoreError: there is none, or this version of robcert does not know its schema.
        """
        path = "/" + path.strip("/")
        place = self.file.hdf5.get(path)
        if place is None or "schema" not in place.attrs:
            message = f"{self.path} has no analysis {path}"
            raise StoreError(message)
        name = place.attrs["schema"]
        known = KNOWN.get(str(name))
        if known is None:
            message = (
                f"{self.path}: {path} has the schema {name!r}, which this robcert does not know"
            )
            raise StoreError(message, hint="read it with the version that wrote it")
        return self._checked(path, known)

    def _checked(self, path: str, schema: Schema) -> AnalysisGroup:
        stored = int(self.file.hdf5[path].attrs["schema_version"])
        if stored != schema.version:
            message = (
                f"{self.path}: {path} has version {stored} of the schema {schema.name!r}, "
                f"this robcert knows version {schema.version}"
            )
            raise StoreError(message, hint="write to a new file, or read it with that version")
        return AnalysisGroup(self, path)

    def _attributes(self, name: str) -> dict[str, Any]:
        place = self.file.hdf5[name]
        texts = (n for n, item in place.items() if getattr(item, "shape", None) == ())
        names = (name for name in (*place.attrs, *texts) if name != CHECKSUM)
        return {name: read_attribute(place, name) for name in names}
