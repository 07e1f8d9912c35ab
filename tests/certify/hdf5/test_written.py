"""HDF5 goes on where the disk is full, and the error is there afterwards."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from robcert.certify.hdf5 import UnfailingFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES = np.arange(5000.0)


def full_after(size: int) -> Callable[[int, memoryview], int]:
    """In place of os.write: a disk that takes ``size`` bytes in all."""
    write, left = os.write, size

    def limited(file: int, content: memoryview) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(file, content[:left])
        left -= taken
        return taken

    return limited


def written(file: UnfailingFile) -> None:
    with h5py.File(file, "w", userblock_size=512) as content:
        content["values"] = VALUES
        content.create_dataset("packed", data=VALUES, compression="gzip")
        content["group/text"] = "a text"
        content.flush()
        del content["values"]
        content["values"] = VALUES + 1


def test_a_file_is_what_hdf5_writes_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with UnfailingFile(path) as file:
        written(file)
        file.require_written()
    assert path.stat().st_mode & 0o111 == 0
    with h5py.File(path) as content:
        assert np.array_equal(content["values"], VALUES + 1)
        assert np.array_equal(content["packed"], VALUES)
        assert content["group/text"].asstr()[()] == "a text"


@pytest.mark.parametrize("size", [0, 96, 5000, 60_000])
def test_the_first_error_is_kept(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", full_after(size))
    with UnfailingFile(tmp_path / "f.h5") as file:
        written(file)
        assert file.error is not None
        with pytest.raises(OSError, match="No space left"):
            file.require_written()


def test_a_file_that_cannot_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        UnfailingFile(tmp_path / "none" / "f.h5")
