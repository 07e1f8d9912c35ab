"""A lock against two processes that write the same results file or run folder."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows: no lock, the rest works
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

    from .errors import RobcertError

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A link under the name of the lock would have a file made elsewhere."""


class FileLock:
    """An exclusive lock for writing ``path``; the system releases it if the process is killed.

    Args:
        path: a file or a folder; the lock is a hidden file beside it. A folder in which this user
            may write, inside one in which not, as a volume of a container, is locked itself.
        error: raised if another process holds the lock.
    """

    def __init__(self, path: Path, error: type[RobcertError]) -> None:
        self._path, self._error = path.parent / f".{path.name}.lock", error
        while True:
            self._descriptor = self._opened(path)
            self._lock(path)
            if self._still_named():
                return
            os.close(self._descriptor)

    def _opened(self, path: Path) -> int:
        """Descriptor of the lock file, or of the folder ``path`` if there can be none beside it."""
        self._beside = True
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o644)
        except OSError as error:
            refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            if not refused or self._path.exists() or not path.is_dir():
                raise
        self._path, self._beside = path, False
        return os.open(path, os.O_RDONLY)

    def _lock(self, path: Path) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without locks
            os.close(self._descriptor)
            message = f"another robcert is writing {path}"
            raise self._error(message, hint="wait for it, or write elsewhere") from None

    def _still_named(self) -> bool:
        """Whether the locked file still exists under its name (its last owner deletes it)."""
        try:
            return os.fstat(self._descriptor).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Release the lock."""
        if self._beside:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def forget(self) -> None:
        """Close the lock in a fork of its owner, which keeps it."""
        os.close(self._descriptor)
