"""Files at addresses such as s3:// and https://, by fsspec and the package of each protocol."""

from __future__ import annotations

import atexit
import contextlib
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import fsspec

from robcert.certify.addresses import without_secrets
from robcert.certify.errors import DataError, RobcertError

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")
"""A range of numbers in braces, as WebDataset writes it: ``{000..049}``."""

MOST_FILES = 100_000
"""Files that a pattern may stand for."""


@contextlib.contextmanager
def reached(address: str) -> Iterator[None]:
    """Convert errors of reaching ``address`` into a DataError with a one-line message."""
    shown = without_secrets(address)
    try:
        yield
    except (RobcertError, MemoryError):
        raise
    except ImportError as error:
        message = f"cannot read {shown}: a package for this protocol is missing"
        raise DataError(message, hint=_first_line(error)) from error
    except FileNotFoundError as error:
        message = f"cannot read {shown}: there is no such file"
        message += ", or its server does not answer" if shown.startswith("http") else ""
        raise DataError(message) from error
    except Exception as error:  # every protocol's package has error classes of its own
        message = f"cannot read {shown}: {without_secrets(_first_line(error))}"
        raise DataError(message) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def matching(pattern: str) -> list[str]:
    """The files that ``pattern`` stands for, in order: ``{000..049}`` and ``*``, or itself.

    Raises:
        DataError: there are none, or too many.
    """
    found: list[str] = []
    for one in _counted(pattern):
        with reached(one):
            system, path = fsspec.core.url_to_fs(one)
            wild = "*" in path
            names = sorted(system.glob(path)) if wild else [path]
            found += [system.unstrip_protocol(name) if wild else one for name in names]
    if not found:
        message = f"there is no file {without_secrets(pattern)}"
        raise DataError(message)
    return found


def _counted(pattern: str) -> list[str]:
    """``pattern`` once for each number of the range in its braces."""
    found = NUMBERS.search(pattern)
    if found is None:
        return [pattern]
    first, last = (int(number) for number in found.groups())
    if not first <= last < first + MOST_FILES:
        message = f"{without_secrets(pattern)} counts from {found[1]} to {found[2]}"
        raise DataError(message, hint=f"count up, and at most {MOST_FILES:,} files")
    numbers = (str(number).zfill(len(found[1])) for number in range(first, last + 1))
    return [f"{pattern[: found.start()]}{n}{pattern[found.end() :]}" for n in numbers]


def opened(address: str) -> BinaryIO:
    """The file at ``address``, open for reading.

    Raises:
        DataError: it cannot be reached.
    """
    with reached(address):
        system, path = fsspec.core.url_to_fs(address)
        file: BinaryIO = system.open(path, "rb")
        return file


def part_of(address: str, start: int, size: int) -> bytes:
    """``size`` bytes of the file from ``start`` on; of no state, so that forks may call it.

    Raises:
        DataError: it cannot be reached, or is shorter.
    """
    with reached(address):
        system, path = fsspec.core.url_to_fs(address)
        content = bytes(system.cat_file(path, start=start, end=start + size))
    if len(content) > size:
        message = f"cannot read {without_secrets(address)}: the server does not send parts of files"
        raise DataError(message, hint="copy the file to this machine")
    if len(content) < size:
        message = f"cannot read {without_secrets(address)}: it is shorter than when it was opened"
        raise DataError(message)
    return content


def local_copy(address: str) -> Path:
    """A copy of the file at ``address`` in a temporary folder, which goes with this process.

    Raises:
        DataError: it cannot be reached, or the copy has no room.
    """
    folder = tempfile.mkdtemp(prefix="robcert-data-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / PurePosixPath(address.split("?")[0]).name
    with reached(address):
        system, source = fsspec.core.url_to_fs(address)
        system.get_file(source, str(path))
    return path
