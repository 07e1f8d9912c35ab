"""Errors of reading a file as one line."""

from __future__ import annotations

import contextlib
import lzma
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

from robcert.certify.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


READING_ERRORS = (
    *(ValueError, EOFError, KeyError, MemoryError, OverflowError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)
"""Raised by the readers of zip, npy and HDF5 files for damage, encryption and unknown methods.

A ``NotImplementedError`` is a ``RuntimeError``."""


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Convert errors of reading ``path`` into a DataError with a one-line message."""
    try:
        yield
    except OSError as error:
        said = next(iter(str(error).splitlines()), "it is damaged")
        message = f"cannot read {path}: {os.strerror(error.errno) if error.errno else said}"
        raise DataError(message) from error
    except READING_ERRORS as error:
        objects = "Object arrays" in str(error)
        reason = "it contains Python objects, which are never loaded" if objects else str(error)
        message = f"cannot read {path}: {reason.splitlines()[0] if reason else 'it is truncated'}"
        raise DataError(message) from error


def require_file(path: Path) -> None:
    """Raise unless ``path`` is a file or a link to one: opening a pipe waits for ever.

    Raises:
        DataError: it is a folder, a pipe or a device, or there is nothing.
    """
    if not path.is_file():
        message = f"cannot read {path}: it is not a file"
        raise DataError(message)
