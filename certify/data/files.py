"""Images in files of arrays: numpy (.npz, .npy), HDF5, idx; read on demand."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.errors import DataError

from .arrays import from_arrays
from .beside import is_corrupted, labels_beside, severity_notes
from .hdf5_file import hdf5_arrays, hdf5_head
from .limits import MOST_IN_MEMORY, MOST_LABELS, ArrayHead, require_temporary_space, unpacking
from .npy_file import disk_array, npy_header
from .reading import readable, require_file

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
        head = _member_head(path, archive, keys[image_key])
        head.require_plausible()
        require_temporary_space(path, head.size)
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the array
        with unpacking(path), archive.open(keys[image_key]) as member:
            shutil.copyfileobj(member, spool)
            spool.flush()
        images = disk_array(path, spool)
        labels = None
        if label_key is not None:
            _member_head(path, archive, keys[label_key]).require_plausible(MOST_LABELS)
            with archive.open(keys[label_key]) as member:
                labels = np.lib.format.read_array(member, allow_pickle=False)
    return from_arrays(path.stem, images, labels, notes=_key_notes(image_key, label_key))


def _member_head(path: Path, archive: zipfile.ZipFile, member: str) -> ArrayHead:
    """What the ``.npy`` file in ``archive`` declares, which has exactly that size.

    Raises:
        DataError: it is larger or smaller, and unpacking it would fill the disk or end early.
    """
    stated = archive.getinfo(member)
    with archive.open(member) as file:
        shape, _, dtype = npy_header(file)
        start = file.tell()
    head = ArrayHead(path, member, shape, dtype, stated.compress_size)
    head.require_shape()
    if not dtype.hasobject and stated.file_size != start + head.size:
        message = f"{path}: {member} unpacks to {stated.file_size} bytes, and its header declares "
        message += f"{start + head.size}"
        raise DataError(message, hint="the file is damaged")
    return head


def _from_npy(path: Path) -> ImageSet:
    with readable(path):
        images = disk_array(path, path.open("rb"))
    return _with_labels_beside(path, images, ())


def _with_labels_beside(path: Path, images: Any, notes: tuple[str, ...]) -> ImageSet:
    """Image set of ``images``, which ``path`` holds without labels."""
    found = labels_beside(path, len(images) if images.ndim else 0)
    if found.labels is not None and is_corrupted(path):
        notes = (*notes, *severity_notes(found.labels))
    return from_arrays(path.stem, images, found.labels, notes=(*notes, found.note))


def _from_hdf5(path: Path) -> ImageSet:
    arrays = hdf5_arrays(path)
    image_key, label_key = _keys(path, list(arrays))
    notes = _key_notes(image_key, label_key)
    images = arrays[image_key]
    hdf5_head(images).require_plausible()
    if label_key is None:
        return _with_labels_beside(path, images, notes)
    hdf5_head(arrays[label_key]).require_plausible(MOST_LABELS)
    labels = arrays[label_key][()]
    return from_arrays(path.stem, images, labels, notes=notes)


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
        DataError: it is not such a file, it is truncated, or it declares too many bytes.
    """
    require_file(path)
    with readable(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(4)
        axes = head[3] if len(head) == 4 and head[:3] == b"\x00\x00\x08" else 0
        shape = tuple(np.frombuffer(file.read(4 * axes), ">u4").astype(int).tolist())
        whole = bool(axes) and len(shape) == axes
        declared = ArrayHead(path, "its array", shape, np.dtype(np.uint8), path.stat().st_size)
        if whole:
            declared.require_plausible(MOST_IN_MEMORY)
        content = file.read(declared.size) if whole else b""
    if not whole or len(content) != declared.size:
        message = f"{path} is not a complete idx file of bytes"
        raise DataError(message)
    return np.frombuffer(content, np.uint8).reshape(shape)
