"""Arrays of an HDF5 file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .reading import readable

if TYPE_CHECKING:
    from pathlib import Path

    import h5py


def hdf5_arrays(path: Path) -> dict[str, h5py.Dataset]:
    """The arrays in ``path`` by name, without those in groups and links to nowhere.

    The file stays open as long as one of them is used.

    Raises:
        DataError: it cannot be read.
    """
    import h5py

    found = {}
    with readable(path):
        file = h5py.File(path, "r")
        for name in file:
            with contextlib.suppress(KeyError, RuntimeError, OSError):
                item = file[name]
                if isinstance(item, h5py.Dataset):
                    found[name] = item
    return found
