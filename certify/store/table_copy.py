"""A copy of one table in memory, for a process on another machine that reads its rows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, cast

import h5py

from .group import AnalysisGroup
from .result_file import ResultFile

if TYPE_CHECKING:
    from .file import SafeFile


class _InMemory:
    """The part of a results file that a table reads; nothing can be written to it."""

    published, writable = True, False

    def __init__(self, content: bytes, path: Path) -> None:
        self.hdf5, self.path = h5py.File(io.BytesIO(content), "r"), path


def packed_table(group: AnalysisGroup) -> tuple[bytes, str, str]:
    """The table as the content of an HDF5 file, its path in it, and that of the results file."""
    source = group._store.file.hdf5
    with h5py.File("copy", "w", driver="core", backing_store=False, libver="earliest") as copy:
        for path in ("data", group.path):
            copy.require_group(path.rpartition("/")[0] or "/")
            source.copy(source[path], copy, name=path)
        copy.flush()
        content = bytes(copy.id.get_file_image())
    return content, group.path, source.filename


def unpacked_table(content: bytes, path: str, file: str) -> AnalysisGroup:
    """The table that :func:`packed_table` copied, for reading."""
    results = ResultFile(cast("SafeFile", _InMemory(content, Path(file))))
    results.load_indices()
    return AnalysisGroup(results, path)
