"""One process at a time writes a results file or a run folder."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from robcert.certify.errors import StoreError
from robcert.certify.file_lock import FileLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no file locks")


def test_what_a_dead_process_left_is_no_lock(tmp_path: Path) -> None:
    left = tmp_path / ".run.lock"
    left.write_text("process 1 of another machine")
    lock = FileLock(tmp_path / "run", StoreError)
    with pytest.raises(StoreError, match="another robcert is writing"):
        FileLock(tmp_path / "run", StoreError)
    lock.release()
    assert not left.exists()


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_folder_in_one_that_cannot_be_written_is_locked_itself(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Any, *rest: int) -> int:
        if Path(path).suffix == ".lock":
            raise OSError(reason, "")
        return opened(path, *rest)

    opened, folder = os.open, tmp_path / "volume"
    folder.mkdir()
    monkeypatch.setattr(os, "open", refused)
    lock = FileLock(folder, StoreError)
    with pytest.raises(StoreError, match="another robcert is writing"):
        FileLock(folder, StoreError)
    lock.release()
    FileLock(folder, StoreError).release()
    assert folder.is_dir()
    with pytest.raises(OSError, match="Errno"):
        FileLock(folder / "results.h5", StoreError)
    (tmp_path / ".volume.lock").write_text("")  # of another user, who may hold it
    with pytest.raises(OSError, match="Errno"):
        FileLock(folder, StoreError)
