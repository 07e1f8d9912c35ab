"""Limits on what files of images unpack to, checked before anything is unpacked or read.

A file of a few kilobytes can declare an array of any size, or one that unpacks to it.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import DataError
from robcert.certify.whole_file import FULL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

_ELSEWHERE = "store the images as .npy, or set TMPDIR to another folder"

MOST_NUMBERS = 2**26
"""Numbers of an image that a model gets, channels x height x width: 256 MiB in float32.

Also pixels of an image file; the largest of ImageNet has 61 million.
"""

MOST_BYTES = 2**35
"""Bytes of an array of images that is read in parts."""

MOST_IN_MEMORY = 2**32
"""Bytes of an array of images that is read as a whole."""

MOST_LABELS = 2**29
"""Bytes of the labels of a set, which are read as a whole."""

MOST_CHUNK = 2**28
"""Bytes of a chunk of an HDF5 array, which is unpacked as a whole."""

ANY_SIZE = 2**26
"""Bytes to which an array may always unpack."""

DEFLATE, DEFLATE_SIZE = 1100, 2**32
"""Up to so many bytes an array may unpack to what zlib can pack: 1032 times the stored bytes."""

EXPANSION = 50
"""Larger arrays may unpack to so many times their stored bytes; those of photographs take twice."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class ArrayHead:
    """What a file declares about an array.

    Attributes:
        path: the file.
        name: of the array, for messages.
        shape: as declared.
        dtype: of its elements.
        stored: bytes that it takes in the file, compressed or not.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: int

    @property
    def size(self) -> int:
        """Bytes after unpacking."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_shape(self) -> None:
        """Raise unless the lengths are such as an array can have.

        Raises:
            DataError: one is negative or beyond all numbers.
        """
        if any(not 0 <= length < 2**63 for length in self.shape):
            message = f"{self.path}: {self.name} declares the shape {shown(self.shape)}"
            raise DataError(message, hint="the file is damaged")

    def require_plausible(self, most: int = MOST_BYTES) -> None:
        """Raise unless the array can be what is stored, and has at most ``most`` bytes.

        Raises:
            DataError: an absurd shape, Python objects, or too many bytes.
        """
        self.require_shape()
        of = f"{self.path}: {self.name}"
        if self.dtype.hasobject:
            message = f"cannot read {of}: it contains Python objects, which are never loaded"
            raise DataError(message)
        tight = min(DEFLATE * self.stored, DEFLATE_SIZE)
        if self.size > max(ANY_SIZE, tight, EXPANSION * self.stored):
            message = (
                f"{of} declares the shape {shown(self.shape)}, {self.size / GIB:.3g} GiB, and "
                f"{self.stored} bytes are stored for it"
            )
            raise DataError(message, hint="the file is damaged, or made to fill the memory")
        if self.size > most:
            message = f"{of} has {self.size / GIB:.3g} GiB; at most {most / GIB:.3g} are read"
            raise DataError(message, hint="store fewer images, or 0 to 255 as uint8, in C order")


def shown(shape: tuple[int, ...]) -> str:
    """``shape`` in one short text, however many or large its numbers are."""
    lengths = [str(n) if abs(n) < 10**18 else "above 10^18" for n in shape[:6]]
    return f"({', '.join(lengths)}{', …' if len(shape) > 6 else ''})"


def require_pixel_count(name: str, shape: tuple[int, ...]) -> None:
    """Raise if an image of this shape has too many numbers.

    Raises:
        DataError: it has more than ``MOST_NUMBERS``.
    """
    if math.prod(shape) > MOST_NUMBERS:
        size = "x".join(map(str, shape))
        message = f"an image of {name} has the size {size}: more than {MOST_NUMBERS} values"
        raise DataError(message, hint="store the images in the size that the model takes")


def require_temporary_space(path: Path, size: int) -> None:
    """Raise unless ``size`` bytes fit into the folder of temporary files.

    Raises:
        DataError: they do not, or there is no such folder.
    """
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        message = f"{path} is unpacked into a temporary file, and no folder for one can be written"
        raise DataError(message, hint=_ELSEWHERE) from error
    free = shutil.disk_usage(folder).free
    if size > free:
        message = (
            f"{path} unpacks to {size / GIB:.3g} GiB, and {folder} has {free / GIB:.3g} GiB free"
        )
        raise DataError(message, hint=_ELSEWHERE)


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Context for writing the temporary file of ``path``: of a full disk, its folder is named.

    Raises:
        DataError: the disk became full, or a quota or limit was reached.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        reason = os.strerror(error.errno)
        message = f"{path} cannot be unpacked into {tempfile.gettempdir()}: {reason}"
        raise DataError(message, hint=_ELSEWHERE) from error
