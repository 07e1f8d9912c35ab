"""Images in one array, with the interpretation of its shape and type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.errors import DataError

from .copies import Copies
from .image_set import SCAN_BYTES, Hash, ImageSet, darkness_doubts, require_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOURS = (1, 3)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Images in one array, in memory or in a file.

    Attributes:
        name: name for messages.
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

    def check(self, digest: Hash) -> tuple[str, ...]:
        """Doubts, after every image was added to ``digest``; a DataError for an invalid pixel."""
        step = max(1, SCAN_BYTES // (int(np.prod(self.shape)) * 4))
        brightest, copies = 0.0, Copies(len(self))
        for first in range(0, len(self), step):
            part = self._ordered(self.array[first : first + step])
            if part.dtype.kind == "f":
                require_pixels(self.name, part, first)
                part = self._pixels(part)
            brightest = max(brightest, float(part.max()))
            part = np.ascontiguousarray(part)
            digest.update(part.data)
            for image in part:
                copies.add(image.data)
        if self.array.dtype.kind != "f":
            if brightest <= 1:
                message = f"{self.name} contains integers up to {brightest:g}, but white is 255"
                raise DataError(message, hint="store 0 to 255 as uint8, or 0 to 1 as float32")
            brightest /= 255
        elif 0 < brightest <= 1.001 / 255:  # 1 / 255 and its rounding
            message = f"{self.name} contains numbers up to {brightest:.2g} only, but white is 1"
            raise DataError(message, hint="were they divided by 255 twice?")
        return (*darkness_doubts(brightest), *copies.doubts())

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

    uint8 and other integers range from 0 to 255, floats from 0 to 1.

    Raises:
        DataError: the shape, a pixel or a label is invalid.
    """
    if 0 in images.shape:
        message = f"{name} holds no images: its shape is {images.shape}"
        raise DataError(message)
    if not images.ndim:
        raise _no_images(name, images.shape)
    images, kind_note = _usable(name, images)
    shape, channels_last, layout_note = _layout(name, images.shape)
    source = ArraySource(name, images, shape, channels_last=channels_last)
    notes = tuple(note for note in (*notes, kind_note, layout_note) if note)
    return ImageSet.of(name, source, labels, classes=classes, notes=notes)


def _usable(name: str, images: Any) -> tuple[Any, str]:
    """``images`` as uint8 or float, with a note if they were interpreted."""
    if images.ndim == 3 and images.shape[-1] in COLOURS and images.shape[0] > 3:
        images = images[:][None]
    if images.dtype == np.uint8 or images.dtype.kind == "f":
        return images, ""
    if images.dtype.kind not in "iub":
        message = f"images of {name} are of type {images.dtype}, not uint8 or float"
        raise DataError(message)
    if images.dtype.kind == "b":
        return images[:].astype(np.float32), "images are black (0) and white (1)"
    narrow = np.empty(images.shape, np.uint8)
    for first in range(0, len(images), 1024):
        part = images[first : first + 1024]
        if part.min() < 0 or part.max() > 255:
            message = f"images of {name} are integers from {part.min()} to {part.max()}"
            raise DataError(message, hint="store 0 to 255 as uint8, or 0 to 1 as float32")
        narrow[first : first + 1024] = part
    return narrow, f"images are {images.dtype}, interpreted as 0 to 255"


def _layout(name: str, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], bool, str]:
    """(c, h, w), whether the channel comes last, and a note if the shape was ambiguous."""
    if len(shape) == 3:
        return (1, shape[1], shape[2]), False, ""
    if len(shape) == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1] and side > 1:
        return (
            (1, side, side),
            False,
            f"rows of {shape[1]} numbers, interpreted as {side}x{side} grey",
        )
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
    raise _no_images(name, shape)


def _no_images(name: str, shape: tuple[int, ...]) -> DataError:
    message = f"images of {name} have the shape {shape}"
    hint = "store them as (n, height, width), (n, height, width, channels) or (n, channels, …)"
    return DataError(message, hint=hint)
