"""An HDF5 file that is consistent at all times: a killed process never leaves a broken file.

Changes of structure (groups, attributes, lengths) are made on a copy beside the file, which then
replaces it in one step of the operating system. Between such changes only values of existing
datasets are written. Power loss is not covered: the operating system's cache is not flushed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from typing import TYPE_CHECKING, Self

import h5py

from robcert.certify.errors import StoreError
from robcert.certify.file_lock import FileLock
from robcert.certify.hdf5 import remember_written
from robcert.certify.whole_file import FULL

from .soundness import require_sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_IN_MEMORY = 2**26
"""Bytes of the largest file that is changed in memory and then written."""


class SafeFile:
    """One HDF5 file, open for reading, or for writing by this process alone.

    Attributes:
        path: path of the results once they are published.
        hdf5: the open file; a new object after every change of structure.
    """

    def __init__(self, path: Path, current: Path, lock: FileLock | None) -> None:
        self.path = path
        self.hdf5 = _open(current, "r" if lock is None else "r+")
        self._current = current  # `path`, or a private file beside it
        self._target = current  # which of the two the next change of structure replaces
        self._lock = lock
        self._inherited = lock is not None and current == path  # its structure is not trusted
        self._folders: list[Path] = []  # created for it

    @classmethod
    def read(cls, path: Path) -> Self:
        """``path`` for reading only; another process may be writing it."""
        require_hdf5(path)
        require_sound(path)
        return cls(path, path, None)

    @classmethod
    def write(cls, path: Path, *, overwrite: bool) -> Self:
        """``path`` for writing, locked against other writers.

        Args:
            path: the file.
            overwrite: create an empty file even if there is one at ``path``, which is kept
                until the new one is published.
        """
        path = path.resolve()
        with storage_errors(path, "cannot write"):
            if path.parent.is_file():
                raise NotADirectoryError(errno.ENOTDIR, "")
            lacking = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, StoreError)
        try:
            with storage_errors(path, "cannot write"):
                _beside(path, "draft").unlink(missing_ok=True)
                _beside(path, "new").unlink(missing_ok=True)
                if path.exists() and not overwrite:
                    require_hdf5(path)
                    require_sound(path)
                    return cls(path, path, lock)
                with _in_memory(_beside(path, "new"), None, 0):
                    pass
                file = cls(path, _beside(path, "new"), lock)
                file._folders = lacking
                return file
        except BaseException:
            _beside(path, "new").unlink(missing_ok=True)
            lock.release()
            _remove(lacking)
            raise

    @property
    def published(self) -> bool:
        """Whether the content is at ``path``."""
        return self._current == self.path

    def stage(self) -> None:
        """Keep changes of structure beside the file until :meth:`publish`."""
        self._target = _beside(self.path, "new")

    @property
    def size(self) -> int:
        """Bytes of the file as it is now."""
        return self._current.stat().st_size

    def only_read(self) -> None:
        """Leave writing to the process that this one was forked from."""
        if self._lock is not None:
            self._lock.forget()
        self._lock = None

    @property
    def writable(self) -> bool:
        """Whether this process may write."""
        return self._lock is not None

    def require_writable(self) -> None:
        """Raise unless this process may write."""
        if not self.writable:
            message = f"{self.path} is open for reading only"
            raise StoreError(message)

    @contextlib.contextmanager
    def change(self, *, empty: bool = False, growth: int = 0) -> Iterator[h5py.File]:
        """The file to change its structure in; all changes take effect at once, or none does.

        Args:
            empty: start from an empty file, to copy ``hdf5`` into, instead of from a copy.
            growth: bytes that the change adds at most, beyond a few megabytes.
        """
        self.require_writable()
        draft = _beside(self.path, "draft")
        with storage_errors(self.path, "cannot write"):
            try:
                self.hdf5.flush()
                size = self.size + growth
                source = None if empty or self._inherited else self._current
                begun = _in_memory if size <= LARGEST_IN_MEMORY else _on_disk
                with begun(draft, source, size) as file:
                    if self._inherited and not empty:
                        self._copy_parts(file)
                    yield file
                self._move(draft, self._target)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise

    def _copy_parts(self, file: h5py.File) -> None:
        """Copy the content of a file from elsewhere, which HDF5 may be unable to change."""
        file.attrs.update(self.hdf5.attrs)
        for name in self.hdf5:
            self.hdf5.copy(name, file)

    def publish(self) -> None:
        """Move the staged file to ``path``, replacing an older one."""
        self._target = self.path
        if not self.published:
            self.require_writable()
            with storage_errors(self.path, "cannot write"):
                self._move(self._current, self.path)

    def discard(self) -> None:
        """Discard the staged file."""
        self._target = self.path
        if not self.published:
            self.hdf5.close()
            self._current.unlink(missing_ok=True)
            self._current, self._inherited = self.path, True
            self.hdf5 = _open(self.path, "r+")

    def _move(self, file: Path, target: Path) -> None:
        self.hdf5.close()
        file.replace(target)
        self._current, self._inherited = target, False
        self.hdf5 = _open(target, "r+")

    @contextlib.contextmanager
    def values(self) -> Iterator[None]:
        """Context for writing values of existing datasets in place; flushed at its end."""
        self.require_writable()
        with storage_errors(self.path, "cannot write"):
            yield
            self.hdf5.flush()

    def close(self) -> None:
        """Close the file; unpublished changes are discarded."""
        self.hdf5.close()
        if self._lock is None:
            return
        if not self.published:
            self._current.unlink(missing_ok=True)
        elif self.path.exists():
            remember_written(self.path)
        self._lock.release()
        self._lock = None
        if not self.path.exists():
            _remove(self._folders)


def _remove(folders: list[Path]) -> None:
    """Remove folders that are empty, the innermost first."""
    with contextlib.suppress(OSError):  # another process has written into it
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def _in_memory(target: Path, source: Path | None, _: int) -> Iterator[h5py.File]:
    """A copy of ``source``, or an empty file, which is written to ``target`` at the end.

    After a failed write HDF5 crashes, at the latest when the process ends; Python does not.
    """
    mode = "w" if source is None else "r+"
    options = {"driver": "core", "backing_store": False, "locking": False}
    with h5py.File(source or target, mode, libver="earliest", **options) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    target.write_bytes(image)


@contextlib.contextmanager
def _on_disk(target: Path, source: Path | None, size: int) -> Iterator[h5py.File]:
    """The same without a copy in memory, if the disk has ``size`` bytes free."""
    if shutil.disk_usage(target.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if source is not None:
        shutil.copy(source, target)
    mode = "w" if source is None else "r+"
    with h5py.File(target, mode, libver="earliest", locking=False) as file:
        yield file


@contextlib.contextmanager
def storage_errors(path: Path, action: str) -> Iterator[None]:
    """Convert errors of the system or HDF5 into a StoreError with a one-line message."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 raises a RuntimeError for a failed close
        number = _errno(error)
        reason = os.strerror(number) if number else str(error).splitlines()[0]
        message = f"{action} {path}: {reason}"
        full = number in FULL
        hint = "free disk space" if full else "check the folder, its permissions and the disk"
        raise StoreError(message, hint=hint) from error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{suffix}")


def require_hdf5(path: Path) -> None:
    """Raise unless ``path`` is a file that can be read and begins as an HDF5 file does."""
    if not path.exists():
        message = f"{path} does not exist"
        raise StoreError(message)
    with storage_errors(path, "cannot open"):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        if path.is_file():  # a pipe would never end
            with path.open("rb"):
                pass
            if h5py.is_hdf5(path):
                return
    message = f"{path} is not an HDF5 file"
    raise StoreError(message, hint="use a results file written by robcert, or another name")


def _open(path: Path, mode: str) -> h5py.File:
    require_hdf5(path)
    with storage_errors(path, "cannot open"):
        return h5py.File(path, mode, libver="earliest", locking=False)


def _errno(error: Exception) -> int | None:
    """The system's error number, which HDF5 reports only in its text."""
    inside = re.search(r"errno = (\d+)", str(error))
    return int(inside.group(1)) if inside else getattr(error, "errno", None)
