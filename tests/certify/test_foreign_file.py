"""Files from others: whole, or one line that says what is wrong."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from robcert.certify.errors import PropertyFileError
from robcert.certify.foreign_file import foreign_bytes

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> bytes:
    return foreign_bytes(path, largest=4, holds="a note", error=PropertyFileError)


def test_a_file_is_read_up_to_its_largest_size(tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_bytes(b"four")
    assert read(note) == b"four"
    note.write_bytes(b"fives")
    with pytest.raises(PropertyFileError, match="has 5 bytes; a note has at most 4"):
        read(note)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    pipe, empty = tmp_path / "pipe", tmp_path / "empty"
    os.mkfifo(pipe)
    empty.touch()
    wrong = {tmp_path: "is not a file", pipe: "is not a file", empty: "is empty"}
    wrong |= {tmp_path / "nothing": "does not exist", tmp_path / ("n" * 300): "too long"}
    for path, reason in wrong.items():
        with pytest.raises(PropertyFileError, match=reason):
            read(path)
