"""The header of a results file: format, versions, model and data set."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.errors import StoreError

from .layout import attribute_value, describe, read_attribute, stored_attribute, write_attributes
from .schema import CLASSES, FORMAT, FORMAT_VERSION, IMAGES
from .validity import require_valid

if TYPE_CHECKING:
    from robcert.certify.data import DataInfo
    from robcert.certify.model import ModelInfo

    from .file import SafeFile


def robcert_version() -> str:
    """Version of the installed robcert."""
    try:
        return version("robcert")
    except PackageNotFoundError:
        return "unknown"


def now() -> str:
    """Time of the call, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()


def begin(file: SafeFile, model: ModelInfo, data: DataInfo) -> None:
    """Write the header of a new results file."""
    with file.change() as hdf5:
        hdf5.attrs["format"] = FORMAT
        hdf5.attrs["format_version"] = FORMAT_VERSION
        hdf5.attrs["robcert_version"] = robcert_version()
        hdf5.attrs["created"] = now()
        named = {CLASSES: list(data.classes)} if data.classes else {}
        for name, values in (("model", model.stored()), ("data", data.facts | named)):
            write_attributes(hdf5.create_group(name), values)
        for column in IMAGES:
            content = np.empty(0, column.dtype)
            dataset = hdf5["data"].create_dataset(column.name, data=content, fillvalue=-1)
            describe(dataset, column, ("image",))


def require_results(file: SafeFile) -> None:
    """Raise unless ``file`` holds whole robcert results of a known format version."""
    if read_attribute(file.hdf5, "format") != FORMAT:
        message = f"{file.path} is an HDF5 file, but not a results file of robcert"
        raise StoreError(message, hint="use another name")
    stored = read_attribute(file.hdf5, "format_version")
    if isinstance(stored, int) and stored != FORMAT_VERSION:
        message = (
            f"{file.path} has format version {stored}, this robcert knows version {FORMAT_VERSION}"
        )
        raise StoreError(message, hint="write to a new file, or read it with that version")
    require_valid(file.hdf5, file.path)


def require_same(file: SafeFile, name: str, digest: str, given: str) -> None:
    """Raise unless the header's ``name`` (model or data) has the content hash ``digest``."""
    place = file.hdf5[name]
    stored = str(place.attrs["sha256"])
    if stored == digest:
        return
    stored_name = read_attribute(place, "file" if name == "model" else "name")
    message = (
        f"{file.path} holds results of another {name}: {stored_name} ({stored[:8]}), "
        f"not {given} ({digest[:8]})"
    )
    raise StoreError(message, hint="write to another file, or overwrite this one")


def require_same_use(file: SafeFile, model: ModelInfo) -> None:
    """Raise unless preprocessing and output are as before: they change the function."""
    place = file.hdf5["model"]
    uses = (("preprocessing", model.preprocessing), ("output_name", model.output_name))
    for name, given in uses:
        stored = stored_attribute(place, name)
        if stored is not None and stored != attribute_value(model.stored()[name]):
            message = (
                f"{file.path} holds results of {model.file} with {name.replace('_', ' ')} "
                f"{stored or 'unknown'}, not {given or 'unknown'}"
            )
            raise StoreError(message, hint="write to another file, or overwrite this one")
