"""Images in files of arrays: numpy (.npz, .npy), HDF5, idx; read on demand."""

from __future__ import annotations

import gzip
import math
import os
import shutil
import tempfile
import weakref
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from robcert.certify.errors import DataError

from .arrays import from_arrays
from .beside import is_corrupted, labels_beside, severity_notes
from .hdf5_file import hdf5_arrays
from .reading import readable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .image_set import ImageSet

PARTNERS = {
    "images": "labels",
    "image": "label",
    "x_test": "y_test",
    "test_images": "test_labels",
    "test_x": "test_y",
    "test_set_x": "test_set_y",
    "x": "y",
    "data": "labels",
    "pixels": "labels",
    "arr_0": "arr_1",
}
"""Usual names of arrays of images, and of the labels that belong to them."""

LABEL_KEYS = (
    *("labels", "label", "y_test", "test_labels", "test_y", "y", "targets", "target", "arr_1"),
)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class DiskArray:
    """An array in a file in C order, of which only the requested rows are read.

    Attributes:
        file: open for reading; closed when the array is no longer used.
        start: offset of the first row in bytes.
    """

    file: BinaryIO
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        weakref.finalize(self, self.file.close)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            return self._run(first, max(last - first, 0))
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        return np.concatenate([self._run(int(run[0]), len(run)) for run in np.split(rows, breaks)])

    def _run(self, first: int, count: int) -> NDArray[Any]:
        row = math.prod(self.shape[1:])
        self.file.seek(self.start + first * row * self.dtype.itemsize)
        content = self.file.read(count * row * self.dtype.itemsize)
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def from_file(path: Path) -> ImageSet:
    """Image set of a file ``.npz``, ``.npy``, ``.h5`` or ``.hdf5``.

    Images and labels are found by the usual names (``images``, ``x_test``, … and ``labels``,
    ``y_test``, …). They are read from disk as needed, those of ``.npz`` from an unpacked temporary
    file. A ``.npy`` or HDF5 file without labels takes those of the file beside it, see
    :func:`robcert.certify.data.beside.labels_beside`.

    Raises:
        DataError: the file cannot be read or holds no images.
    """
    reader = {".npz": _from_npz, ".npy": _from_npy, ".h5": _from_hdf5, ".hdf5": _from_hdf5}
    return reader[path.suffix.lower()](path)


def _from_npz(path: Path) -> ImageSet:
    with readable(path), zipfile.ZipFile(path) as archive:
        keys = {name.removesuffix(".npy"): name for name in archive.namelist()}
        image_key, label_key = _keys(path, list(keys))
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the array
        with archive.open(keys[image_key]) as member:
            shutil.copyfileobj(member, spool)
        images = _disk_array(spool)
        labels = None
        if label_key is not None:
            with archive.open(keys[label_key]) as member:
                labels = np.lib.format.read_array(member, allow_pickle=False)
    return from_arrays(path.stem, images, labels, notes=_key_notes(image_key, label_key))


def _from_npy(path: Path) -> ImageSet:
    with readable(path):
        images = _disk_array(path.open("rb"))
    return _with_labels_beside(path, images, ())


def _with_labels_beside(path: Path, images: Any, notes: tuple[str, ...]) -> ImageSet:
    """Image set of ``images``, which ``path`` holds without labels."""
    found = labels_beside(path, len(images) if images.ndim else 0)
    if found.labels is not None and is_corrupted(path):
        notes = (*notes, *severity_notes(found.labels))
    return from_arrays(path.stem, images, found.labels, notes=(*notes, found.note))


def _disk_array(file: BinaryIO) -> DiskArray | NDArray[Any]:
    """The array of the open ``.npy`` file; closes it on failure."""
    try:
        file.seek(0)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(file)
        start = file.tell()
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or columns_first:
            with file:
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
        if file.seek(0, os.SEEK_END) - start < size:
            message = "it is truncated"
            raise ValueError(message)
    except BaseException:
        file.close()
        raise
    return DiskArray(file, start, shape, dtype)


def _from_hdf5(path: Path) -> ImageSet:
    arrays = hdf5_arrays(path)
    image_key, label_key = _keys(path, list(arrays))
    notes = _key_notes(image_key, label_key)
    if label_key is None:
        return _with_labels_beside(path, arrays[image_key], notes)
    with readable(path):
        labels = arrays[label_key][()]
    return from_arrays(path.stem, arrays[image_key], labels, notes=notes)


def _keys(path: Path, names: list[str]) -> tuple[str, str | None]:
    """Names of the array of images and of the array of labels, None if there is none."""
    by_name = {name.lower(): name for name in names}
    images = next((key for key in PARTNERS if key in by_name), None)
    if images is None:
        message = f"{path} has no array called images, only {', '.join(names) or 'nothing'}"
        hint = "name the arrays 'images' and 'labels'"
        if by_name and by_name.keys() <= set(LABEL_KEYS):
            hint = "give the file of the images; labels in a file beside it are found"
        raise DataError(message, hint=hint)
    labels = (PARTNERS[images], *LABEL_KEYS)
    return by_name[images], next((by_name[key] for key in labels if key in by_name), None)


def _key_notes(images: str, labels: str | None) -> tuple[str, ...]:
    notes = [] if images == "images" else [f"images from {images!r}"]
    notes += [] if labels in (None, "labels") else [f"labels from {labels!r}"]
    return tuple(notes)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Array of an idx file of bytes (the format of MNIST), gzipped or not.

    Raises:
        DataError: it is not such a file, or it is truncated.
    """
    with readable(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(4)
        axes = head[3] if len(head) == 4 and head[:3] == b"\x00\x00\x08" else 0
        shape = tuple(np.frombuffer(file.read(4 * axes), ">u4").astype(int).tolist())
        size = math.prod(shape)
        content = file.read(size) if axes and len(shape) == axes else b""
    if not axes or len(content) != size:
        message = f"{path} is not a complete idx file of bytes"
        raise DataError(message)
    return np.frombuffer(content, np.uint8).reshape(shape)
