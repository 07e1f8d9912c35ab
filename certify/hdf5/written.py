"""A file that HDF5 writes without learning that the disk is full.

After a write that failed the HDF5 library crashes, at the latest when the process ends.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self


class UnfailingFile:
    """A new file for ``h5py.File``, which keeps the first error of the system to itself.

    Attributes:
        error: the first error; what was written after it is not in the file.
    """

    def __init__(self, path: Path) -> None:
        """Create ``path`` or empty it.

        Raises:
            OSError: that is not possible.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, flags, 0o666)
        self._at = 0
        self.error: OSError | None = None

    def require_written(self) -> None:
        """Raise the error if there was one."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, as other files do."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (os.fstat(self._file).st_size if start is None else start)
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; h5py takes no object for a file that lacks this."""
        content = bytearray(size)
        self.readinto(memoryview(content))
        return bytes(content)

    def readinto(self, target: memoryview) -> int:
        """Read; what the disk did not take is read as zeros."""
        os.lseek(self._file, self._at, os.SEEK_SET)
        found = os.read(self._file, len(target))
        target[: len(found)] = found
        target[len(found) :] = bytes(len(target) - len(found))
        self._at += len(target)
        return len(target)

    def write(self, content: memoryview) -> int:
        """Write ``content``, or keep the error."""
        left = memoryview(content)
        try:
            os.lseek(self._file, self._at, os.SEEK_SET)
            while len(left) and self.error is None:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self.error = self.error or error
        self._at += len(content)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        """Change the length, or keep the error."""
        size = self._at if size is None else size
        try:
            os.ftruncate(self._file, size)
        except OSError as error:
            self.error = self.error or error
        return size

    def flush(self) -> None:
        """Do nothing: every write reaches the system at once."""
