"""Whether the values of a results file are those that were written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

from robcert.certify.hdf5 import CHANGED, CHECKSUM, is_as_written, rows_as_written

from .schema import COMPUTED

if TYPE_CHECKING:
    from collections.abc import Iterator


def value_faults(file: h5py.File) -> Iterator[tuple[str, str]]:
    """Places of ``file`` whose values or attributes do not fit their checksums, and what is wrong.

    The file's structure must be valid. What older versions wrote has no checksums.
    """
    found = list[tuple[str, str]]()

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not is_as_written(item):
            what = "values" if isinstance(item, h5py.Dataset) else "attributes"
            found.append((f"/{name}", f"has other {what} {CHANGED}"))
        if isinstance(item, h5py.Group) and "schema" in item.attrs and CHECKSUM in item:
            found.extend((f"/{name}", fault) for fault in _row_faults(item))

    file.visititems(visit)
    yield from found


def _row_faults(table: h5py.Group) -> Iterator[str]:
    """What is wrong with the finished rows of ``table``; nothing if they are as written."""
    done = table[COMPUTED.name][()] == 1
    columns = {name: table[name][()] for name in row_columns(table)}
    wrong = np.flatnonzero(done & ~rows_as_written(table[CHECKSUM][()], columns))
    if len(wrong) == 0:
        return
    of_images = table.attrs["axis"] == "image"
    first = int(table.file["data/index"][wrong[0]] if of_images else wrong[0])
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    what = "image" if of_images else "sample"
    yield f"has other values for {what} {first}{more} {CHANGED}"


def row_columns(table: h5py.Group) -> list[str]:
    """Names of the columns that the checksums of the rows of ``table`` cover: all but images.

    HDF5 finds damage in the images itself, because it packs them with zlib.
    """
    axis = table.attrs["axis"]
    return [
        name
        for name, item in table.items()
        if isinstance(item, h5py.Dataset)
        and item.ndim
        and not item.chunks
        and item.dims[0].label == axis
        and name not in (COMPUTED.name, CHECKSUM)
    ]
