"""Damage of a results file, found on opening it rather than in the middle of its use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

from robcert.certify.data import part_outside
from robcert.certify.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

MOST_READ = 4_000_000
"""Bytes of the largest array whose values are read as a test."""

_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises for a file that contradicts itself."""


def require_sound(file: h5py.File, path: Path) -> None:
    """Raise a StoreError if a part of ``file`` lies elsewhere, or cannot be opened and read.

    The values of large arrays are not read. An array may be larger than its file, because rows of
    images are allocated when they are written.
    """
    try:
        outside = part_outside(file)
        if not outside:
            _read_through(file)
    except _FAULTS as error:
        place, reason = _described(error)
        message = f"{path} is damaged{place}: {reason}"
        hint = "use a copy of it, or repeat the commands with another file"
        raise StoreError(message, hint=hint) from error
    if outside:
        message = f"{path}: {outside}, which robcert never writes"
        raise StoreError(message, hint="do not use this file: it leads to other files")


class _PartError(ValueError):
    """A fault of one part of the file."""


def _read_through(file: h5py.File) -> None:
    """Read every attribute and the smaller arrays."""
    dict(file.attrs)

    def read(name: str, item: h5py.Group | h5py.Dataset) -> None:
        try:
            dict(item.attrs)
            if not isinstance(item, h5py.Dataset):
                return
            size = int(np.prod(item.shape or (), dtype=object)) * item.dtype.itemsize
            if size <= MOST_READ:
                item[()]
        except _FAULTS as error:
            message = f"/{name}"
            raise _PartError(message) from error

    file.visititems(read)


def _described(error: Exception) -> tuple[str, str]:
    """Where a fault is, if that is known, and HDF5's reason, in one line."""
    place = f" at {error}" if isinstance(error, _PartError) else ""
    cause = error.__cause__ if isinstance(error, _PartError) and error.__cause__ else error
    text = " ".join(str(cause).strip("'\"").split())
    return place, text or type(cause).__name__
