"""Images in arrays: numpy files (.npz, .npy), HDF5 files, idx files."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError
from .image_set import SCAN_BYTES, Hash, ImageSet, require_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE_KEYS = ("images", "image", "x_test", "test_images", "x", "data", "pixels", "arr_0")
LABEL_KEYS = ("labels", "label", "y_test", "test_labels", "y", "targets", "target", "arr_1")
COLOURS = (1, 3)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Images in one array, in memory, memory-mapped or an HDF5 dataset.

    Attributes:
        name: for messages.
        array: uint8 (0 to 255) or float (0 to 1).
        shape: (c, h, w) of an image.
        channels_last: whether the array's last axis is the channel; else the first after n.
    """

    name: str
    array: Any
    shape: tuple[int, int, int]
    channels_last: bool

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels ``(b, c, h, w)`` in [0, 1]."""
        if isinstance(self.array, np.ndarray):
            return self._pixels(self._ordered(self.array[indices]))
        unique, where = np.unique(indices, return_inverse=True)
        return self._pixels(self._ordered(self.array[unique])[where])

    def check(self, digest: Hash) -> None:
        """Feed every image to ``digest``; raise a DataError for a pixel that is none."""
        step = max(1, SCAN_BYTES // (int(np.prod(self.shape)) * 4))
        brightest = 0
        for first in range(0, len(self), step):
            piece = self._ordered(self.array[first : first + step])
            if piece.dtype.kind == "f":
                require_pixels(self.name, piece, first)
                piece = self._pixels(piece)
            else:
                brightest = max(brightest, int(piece.max()))
            digest.update(np.ascontiguousarray(piece).data)
        if self.array.dtype.kind != "f" and brightest <= 1:
            message = f"{self.name} holds whole numbers of at most {brightest}, where white is 255"
            raise DataError(message, hint="store 0 to 255 as uint8, or 0 to 1 as float32")

    def _ordered(self, images: NDArray[Any]) -> NDArray[Any]:
        """``images`` as ``(b, c, h, w)``."""
        if self.channels_last and images.ndim == 4:
            images = images.transpose(0, 3, 1, 2)
        return images.reshape(len(images), *self.shape)

    def _pixels(self, images: NDArray[Any]) -> NDArray[np.float32]:
        if images.dtype.kind == "f":
            return np.clip(np.ascontiguousarray(images, np.float32), 0, 1)
        return np.ascontiguousarray(images, np.float32) / np.float32(255)


def from_arrays(
    name: str,
    images: Any,
    labels: NDArray[Any] | None = None,
    *,
    classes: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> ImageSet:
    """Image set of the array ``images``: (n, h, w), (n, h, w, c) or (n, c, h, w).

    uint8 and other whole numbers count from 0 to 255, floats from 0 to 1.

    Raises:
        DataError: the shape, a pixel or a label makes no sense.
    """
    if 0 in images.shape:
        message = f"{name} holds no images: its shape is {images.shape}"
        raise DataError(message)
    images, kind_note = _usable(name, images)
    shape, channels_last, layout_note = _layout(name, images.shape)
    source = ArraySource(name, images, shape, channels_last=channels_last)
    notes = tuple(note for note in (*notes, kind_note, layout_note) if note)
    return ImageSet.of(name, source, labels, classes=classes, notes=notes)


def from_file(path: Path) -> ImageSet:
    """Image set of a file ``.npz``, ``.npy``, ``.h5`` or ``.hdf5``.

    Images and labels are found by the usual names (``images``, ``x_test``, … and ``labels``,
    ``y_test``, …). ``.npy`` and HDF5 are read from disk as needed, ``.npz`` is held in memory as
    it is stored. Labels of ``images.npy`` are those of ``labels.npy`` beside it, if it exists.

    Raises:
        DataError: the file cannot be read or holds no images.
    """
    reader = {".npz": _from_npz, ".npy": _from_npy, ".h5": _from_hdf5, ".hdf5": _from_hdf5}
    return reader[path.suffix.lower()](path)


def _from_npz(path: Path) -> ImageSet:
    with contextlib.ExitStack() as stack:
        with readable(path):
            opened = stack.enter_context(path.open("rb"))  # numpy leaks its own at a broken file
            file = np.load(opened, allow_pickle=False)
        if isinstance(file, np.ndarray):
            message = f"{path} is one array, not an archive of arrays"
            raise DataError(message, hint="call it .npy")
        return _from_mapping(path, stack.enter_context(file))


def _from_npy(path: Path) -> ImageSet:
    with readable(path):
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(images, np.lib.npyio.NpzFile):
        message = f"{path} is an archive of arrays, not one array"
        raise DataError(message, hint="call it .npz")
    for said, instead in (("images", "labels"), ("data", "labels"), ("x", "y"), ("X", "y")):
        beside = path.with_name(path.name.replace(said, instead, 1))
        if beside != path and beside.is_file():
            with readable(beside):
                labels = np.load(beside, allow_pickle=False)
            return from_arrays(path.stem, images, labels, notes=(f"labels from {beside.name}",))
    note = "no labels: no file beside it is called like it with 'labels' for 'images'"
    return from_arrays(path.stem, images, notes=(note,))


def _from_hdf5(path: Path) -> ImageSet:
    import h5py

    with readable(path):
        file = h5py.File(path, "r")
    return _from_mapping(path, {k: v for k, v in file.items() if isinstance(v, h5py.Dataset)})


def _from_mapping(path: Path, arrays: Mapping[str, Any]) -> ImageSet:
    """Image set of named arrays; only those that are used are loaded."""
    by_name = {key.lower(): key for key in arrays}
    image_key = next((by_name[key] for key in IMAGE_KEYS if key in by_name), None)
    label_key = next((by_name[key] for key in LABEL_KEYS if key in by_name), None)
    if image_key is None:
        message = f"{path} has no array called images, only {', '.join(arrays) or 'nothing'}"
        raise DataError(message, hint="call the images 'images' and the classes 'labels'")
    with readable(path):
        images = arrays[image_key]
        labels = None if label_key is None else np.asarray(arrays[label_key])
    notes = [] if image_key == "images" else [f"images from {image_key!r}"]
    notes += [] if label_key in (None, "labels") else [f"labels from {label_key!r}"]
    return from_arrays(path.stem, images, labels, notes=tuple(notes))


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what is wrong with the file ``path`` into one line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        message = f"cannot read {path}: {reason}"
        raise DataError(message) from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        pickled = "pickle" in str(error) or "Object arrays" in str(error)
        reason = "no array, or Python objects, which are never loaded" if pickled else str(error)
        message = f"cannot read {path}: {reason.splitlines()[0] if reason else 'it is cut short'}"
        raise DataError(message) from error


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Array of an idx file of bytes (the format of MNIST), gzipped or not.

    Raises:
        DataError: it is not such a file, or is cut short.
    """
    with readable(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(4)
        axes = head[3] if len(head) == 4 and head[:3] == b"\x00\x00\x08" else 0
        shape = tuple(np.frombuffer(file.read(4 * axes), ">u4").astype(int).tolist())
        size = math.prod(shape)
        content = file.read(size) if axes and len(shape) == axes else b""
    if not axes or len(content) != size:
        message = f"{path} is not a whole idx file of bytes"
        raise DataError(message)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _usable(name: str, images: Any) -> tuple[Any, str]:
    """``images`` as uint8 or float, with a note if that took a decision."""
    if images.ndim == 3 and images.shape[-1] in COLOURS and images.shape[0] > 3:
        images = np.asarray(images)[None]
    if images.dtype == np.uint8 or images.dtype.kind == "f":
        return images, ""
    if images.dtype.kind not in "iub":
        message = f"images of {name} are of type {images.dtype}, not uint8 or float"
        raise DataError(message)
    if images.dtype.kind == "b":
        return np.asarray(images, np.float32), "images are black (0) and white (1)"
    narrow = np.empty(images.shape, np.uint8)
    for first in range(0, len(images), 1024):
        piece = images[first : first + 1024]
        if piece.min() < 0 or piece.max() > 255:
            message = f"images of {name} are whole numbers from {piece.min()} to {piece.max()}"
            raise DataError(message, hint="store 0 to 255 as uint8, or 0 to 1 as float32")
        narrow[first : first + 1024] = piece
    return narrow, f"images are {images.dtype}, taken as 0 to 255"


def _layout(name: str, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], bool, str]:
    """(c, h, w), whether the channel comes last, and a note if that took a decision."""
    if len(shape) == 3:
        return (1, shape[1], shape[2]), False, ""
    if len(shape) == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1] and side > 1:
        return (1, side, side), False, f"rows of {shape[1]} numbers, taken as {side}x{side} grey"
    if len(shape) == 4:
        last, first = shape[3] in COLOURS, shape[1] in COLOURS
        if not last and not first:
            last, first = shape[3] < min(shape[1:3]), shape[1] < min(shape[2:])
        if last and first:
            return (shape[3], *shape[1:3]), True, f"shape {shape}: the last axis is the channel"
        if last:
            return (shape[3], *shape[1:3]), True, ""
        if first:
            return shape[1:], False, ""
    message = f"images of {name} have the shape {shape}"
    hint = "store them as (n, height, width), (n, height, width, channels) or (n, channels, …)"
    raise DataError(message, hint=hint)
