"""Reads a file from others whole, with one clear line if it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .errors import RobcertError


def foreign_bytes(path: Path, *, largest: int, holds: str, error: type[RobcertError]) -> bytes:
    """Bytes of the file at ``path``, which is not read if it is too large.

    Args:
        path: the file.
        largest: bytes that such a file may have.
        holds: what such a file is, with its article, for the message.
        error: class of the error.

    Raises:
        RobcertError: of the class ``error``: the file is missing, a folder or the like, empty, too
            large, or cannot be read.
    """
    try:
        if not path.exists():
            message = f"{path} does not exist"
            raise error(message)
        if not path.is_file():
            message = f"{path} is not a file"
            raise error(message)
        size = path.stat().st_size
        if not 0 < size <= largest:
            many = f"has {size} bytes; {holds} has at most {largest}"
            message = f"{path} {many if size else 'is empty'}"
            raise error(message)
        return path.read_bytes()
    except OSError as reason:
        message = f"{path} cannot be read: {reason.strerror}"
        raise error(message) from reason
