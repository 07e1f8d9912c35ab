"""Arrays of an HDF5 file, whose values all lie inside it."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.errors import DataError

from .limits import GIB, MOST_CHUNK, ArrayHead
from .reading import readable

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in an HDF5 file, of which only the requested rows are read.

    Attributes:
        path: the file, which stays open as long as the array is used.
        array: the array in it.
    """

    path: Path
    array: h5py.Dataset

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.array.dtype

    def __len__(self) -> int:
        return self.array.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        with readable(self.path):  # a damaged piece is found when it is read
            return np.asarray(self.array[rows])


def hdf5_arrays(path: Path) -> dict[str, StoredArray]:
    """The arrays in ``path`` by name, without those in groups and links to nowhere.

    The file stays open as long as one of them is used.

    Raises:
        DataError: it cannot be read, or has parts outside.
    """
    import h5py

    from robcert.certify.hdf5 import fault_of_file

    found = {}
    with readable(path):
        if path.is_file() and (fault := fault_of_file(path, soft_links=True)):
            where = f"{path}: {fault.place}" if fault.place else f"cannot read {path}:"
            message = f"{where} {fault.reason}"
            raise DataError(message, hint="store the arrays in one file" if fault.outside else "")
        file = h5py.File(path, "r")
        if outside := part_outside(file, soft_links=True):
            message = f"{path}: {outside}"
            raise DataError(message, hint="store the arrays in one file")
        for name in file:
            with contextlib.suppress(KeyError, RuntimeError, OSError):
                item = file[name]
                if isinstance(item, h5py.Dataset) and item.shape is not None:  # or it has no values
                    found[name] = StoredArray(path, item)
    return found


def hdf5_head(stored: StoredArray) -> ArrayHead:
    """What the file declares about ``stored``.

    Raises:
        DataError: its chunks are too large.
    """
    path, array = stored.path, stored.array
    name = array.name.lstrip("/")
    with readable(path):
        chunk = math.prod(array.chunks or ()) * array.dtype.itemsize
        head = ArrayHead(path, name, array.shape, array.dtype, array.id.get_storage_size())
    if chunk > MOST_CHUNK:
        message = f"{path}: {name} is stored in chunks of {chunk / GIB:.3g} GiB"
        raise DataError(message, hint="store it in chunks of a few images")
    return head


def part_outside(file: h5py.File, *, soft_links: bool = False) -> str:
    """The first part of ``file`` that is not in the file itself, and why; empty if there is none.

    A link to another file, or an array that is stored elsewhere, makes whoever reads the file read
    another one, and whoever writes into it write into another one.

    Args:
        file: the file.
        soft_links: whether links to names within the file are parts of it.
    """
    import h5py

    left, seen = [("", file["/"])], set[int]()
    while left:
        place, group = left.pop()
        for name in group:
            path, link = f"{place}/{name}", group.get(name, getlink=True)
            if soft_links and isinstance(link, h5py.SoftLink):
                continue
            if not isinstance(link, h5py.HardLink):
                return f"{path} is a link"
            item = group[name]
            if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
                return f"the values of {path} are stored elsewhere"
            address = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Group) and address not in seen:  # links may form a circle
                seen.add(address)
                left.append((path, item))
    return ""
