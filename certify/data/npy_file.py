"""Arrays in ``.npy`` files, of which only the requested rows are read."""

from __future__ import annotations

import math
import os
import tokenize
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from robcert.certify.errors import DataError

from .limits import MOST_BYTES, MOST_IN_MEMORY, MOST_LABELS, ArrayHead

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, weakref_slot=True)
class DiskArray:
    """An array in a file in C order, of which only the requested rows are read.

    Attributes:
        path: the file, or that which it was unpacked from.
        file: open for reading; closed when the array is no longer used.
        start: offset of the first row in bytes.
    """

    path: Path
    file: BinaryIO
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        weakref.finalize(self, self.file.close)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            return self._run(first, max(last - first, 0))
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        return np.concatenate([self._run(int(run[0]), len(run)) for run in np.split(rows, breaks)])

    def _run(self, first: int, count: int) -> NDArray[Any]:
        row = math.prod(self.shape[1:])
        begin = self.start + first * row * self.dtype.itemsize
        content = _read_at(self.file, begin, count * row * self.dtype.itemsize)
        if len(content) < count * row * self.dtype.itemsize:
            message = f"cannot read {self.path}: it is shorter than when it was opened"
            raise DataError(message)
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def _read_at(file: BinaryIO, start: int, size: int) -> bytes:
    """``size`` bytes from ``start``, or those up to the end of the file.

    The position in a file is shared with the forks of this process, which read it too.
    """
    if not hasattr(os, "pread"):
        file.seek(start)
        return file.read(size)
    content = bytearray()
    while len(content) < size:  # the system may return a part
        piece = os.pread(file.fileno(), size - len(content), start + len(content))
        if not piece:
            break
        content += piece
    return bytes(content)


def npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the ``.npy`` file, which is read up to them.

    Raises:
        ValueError: there is no such header.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    try:
        shape, columns_first, dtype = read(file)
    except (TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        message = "its header is damaged"
        raise ValueError(message) from error
    return shape, columns_first, dtype


def disk_array(path: Path, file: BinaryIO) -> DiskArray | NDArray[Any]:
    """The array of the open ``.npy`` file ``path``, or unpacked from it; closes it on failure."""
    try:
        file.seek(0)
        shape, columns_first, dtype = npy_header(file)
        start = file.tell()
        held = file.seek(0, os.SEEK_END) - start
        head = ArrayHead(path, "its array", shape, dtype, held)
        head.require_plausible(MOST_IN_MEMORY if columns_first else MOST_BYTES)
        if held < head.size:
            message = "it is truncated"
            raise ValueError(message)
        if columns_first:
            with file:
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
    except BaseException:
        file.close()
        raise
    return DiskArray(path, file, start, shape, dtype)


def npy_labels(path: Path) -> NDArray[Any]:
    """The array in the ``.npy`` file ``path``, read as a whole.

    Raises:
        DataError: it has too many bytes.
        ValueError: it is damaged or truncated.
    """
    with path.open("rb") as file:
        shape, _, dtype = npy_header(file)
        held = path.stat().st_size - file.tell()
        ArrayHead(path, "its array", shape, dtype, held).require_plausible(MOST_LABELS)
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
