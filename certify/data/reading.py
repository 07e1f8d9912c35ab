"""Errors of reading a file as one line."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from typing import TYPE_CHECKING

from robcert.certify.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Convert errors of reading ``path`` into a DataError with a one-line message."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        message = f"cannot read {path}: {reason}"
        raise DataError(message) from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        objects = "Object arrays" in str(error)
        reason = "it contains Python objects, which are never loaded" if objects else str(error)
        message = f"cannot read {path}: {reason.splitlines()[0] if reason else 'it is truncated'}"
        raise DataError(message) from error
