"""Arrays of an HDF5 file, whose values all lie inside it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from robcert.certify.errors import DataError
from robcert.certify.hdf5 import fault_of_file

from .reading import readable

if TYPE_CHECKING:
    from pathlib import Path

    import h5py


def hdf5_arrays(path: Path) -> dict[str, h5py.Dataset]:
    """The arrays in ``path`` by name, without those in groups and links to nowhere.

    The file stays open as long as one of them is used.

    Raises:
        DataError: it cannot be read, is damaged, or has parts outside.
    """
    import h5py

    found = {}
    with readable(path):
        if path.is_file() and (fault := fault_of_file(path, soft_links=True)):
            message = f"{path}: {' '.join(part for part in (fault.place, fault.reason) if part)}"
            raise DataError(message, hint="store the arrays in one file" if fault.outside else "")
        file = h5py.File(path, "r")
        for name in file:
            with contextlib.suppress(KeyError, RuntimeError, OSError):
                item = file[name]
                if isinstance(item, h5py.Dataset):
                    found[name] = item
    return found
