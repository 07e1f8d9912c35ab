"""Files of output that appear completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTIAL = ".partial"
"""Ending of the temporary file."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, a used-up quota and a limit on the size of files."""


HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of results files."""


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file, then rename it to ``path``: all of it or nothing.

    Missing folders are created. A device or pipe is written directly.

    Raises:
        OutputError: the file cannot be written; nothing of it is left, nor of these folders. Or it
            would replace a results file, in which hours of work may be.
    """
    with output_errors(path), _folders_of(path):
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        target = path.resolve()  # a link stays one
        _require_no_results(path)
        temporary = target.with_name(target.name + PARTIAL)
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _require_no_results(path: Path) -> None:
    """Raise if there is an HDF5 file at ``path``.

    Raises:
        OutputError: there is one.
        OSError: the file that is there cannot be read.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            return
    message = f"{path} is an HDF5 file, such as a results file, and is not replaced"
    raise OutputError(message, hint="name another file")


@contextlib.contextmanager
def _folders_of(path: Path) -> Iterator[None]:
    """Create the missing folders above ``path``; remove them if what follows fails."""
    made = [folder for folder in path.absolute().parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:  # the innermost first
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def can_be_written(path: Path) -> bool:
    """Whether a file can be written at ``path``, missing folders created; asked before work."""
    folder = next(above for above in path.absolute().parents if above.exists())
    return not path.is_dir() and folder.is_dir() and os.access(folder, os.W_OK)


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Convert the system's errors into an OutputError that names ``path``, in one line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"cannot write {path}: {' '.join(reason.split())}"
        full = error.errno in FULL
        hint = "free disk space" if full else "check the folder, its permissions and the disk"
        raise OutputError(message, hint=hint) from error
