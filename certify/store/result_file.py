"""The part of a results file that its tables need: the images of the rows, and publishing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.hdf5 import seal

from .image_log import fold_log, pending_logs
from .layout import copy_grown

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .file import SafeFile


class ResultFile:
    """A results file with the list of images that its rows refer to.

    Attributes:
        file: the file behind it.
        indices: positions in the data set of the images of the rows ``(n,)``.
        labels: their labels ``(n,)``, -1 where there is none.
        has_rows: whether a table used by this run has a row in the file.
    """

    def __init__(self, file: SafeFile) -> None:
        self.file = file
        self.indices: NDArray[np.int64]
        self.labels: NDArray[np.int32]
        self._replaces = not file.published  # an existing file, if any
        self._begun = False  # whether a new table was created
        self.has_rows = False

    @property
    def path(self) -> Path:
        """Path of the results file."""
        return self.file.path

    def add_images(self, indices: NDArray[np.int64], labels: NDArray[Any] | None) -> None:
        """Extend all tables by those of ``indices`` that are not in the file yet.

        Args:
            indices: positions in the data set.
            labels: their labels, None where there are none.
        """
        indices = np.asarray(indices, np.int64)
        new = np.flatnonzero(self.rows(indices) < 0)
        new = new[np.sort(np.unique(indices[new], return_index=True)[1])]
        if len(new) == 0:
            return
        labels = np.full(len(indices), -1) if labels is None else np.asarray(labels)
        rows = len(self.indices) + len(new)
        growth = self.file.size * len(new) // max(len(self.indices), 1)
        with self.file.change(empty=True, growth=growth) as file:
            copy_grown(self.file.hdf5, file, rows)
            file["data/index"][-len(new) :] = indices[new]
            file["data/label"][-len(new) :] = labels[new]
            for name in ("data/index", "data/label"):
                seal(file[name])
        self.load_indices()

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of ``indices`` along the first axis of every table, -1 for unknown ones."""
        indices = np.asarray(indices, np.int64)
        if len(self.indices) == 0:
            return np.full(len(indices), -1, np.int64)
        nearest = np.searchsorted(self.indices, indices, sorter=self._order)
        found = self._order[np.minimum(nearest, len(self._order) - 1)]
        return np.where(self.indices[found] == indices, found, -1)

    def publish(self) -> None:
        """Publish the file, or the new table, that waits for its first row."""
        if self._replaces:
            for log in pending_logs(self.path):  # of the overwritten file
                log.unlink()
        self.file.publish()
        self._replaces = False

    def fold_images(self) -> None:
        """Merge logged images into the file."""
        logs = pending_logs(self.path) if self.file.writable and self.file.published else []
        if not logs:
            return
        with self.file.change(growth=sum(log.stat().st_size for log in logs)) as file:
            for log in logs:
                fold_log(log, file)
        for log in logs:
            log.unlink()

    def load_indices(self) -> None:
        """Read the list of images of the rows."""
        self.indices = self.file.hdf5["data/index"][()]
        self.labels = self.file.hdf5["data/label"][()]
        self._order = np.argsort(self.indices)
