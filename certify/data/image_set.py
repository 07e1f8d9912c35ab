"""A set of labelled images, read batch by batch from a source that hides the storage format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from robcert.certify.errors import DataError, InvalidParameterError, require_at_least

from .limits import require_pixel_count

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

RANGE_TOLERANCE = 1e-6
"""Largest accepted rounding error of pixels outside [0, 1]."""

DARK = 1 / 8
"""If no pixel of a set is brighter, its white is probably another number, such as 16."""

SCAN_BYTES = 16_000_000
"""Images are checked and hashed in pieces of about this size."""


@dataclass(frozen=True, slots=True)
class DataInfo:
    """Identity of a data set, stored in ``/data`` of a results file.

    Attributes:
        name: name of the set.
        sha256: hash of all images and labels.
        size: number of images.
        classes: names of the classes, empty where they have none.
    """

    name: str
    sha256: str
    size: int
    classes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """Name, hash and size, as ``--json`` prints them."""
        return {"name": self.name, "sha256": self.sha256, "size": self.size}


class Hash(Protocol):
    """A hash that is updated with the content of a source."""

    def update(self, data: Any, /) -> None:
        """Add bytes to the hash."""


class PixelSource(Protocol):
    """Images that are read on demand."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of every image."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels ``(b, c, h, w)`` in [0, 1]."""

    def check(self, digest: Hash) -> tuple[str, ...]:
        """Reasons for doubt, after every image was read once and added to ``digest``.

        Raises:
            DataError: an image is invalid.
        """


@runtime_checkable
class FileSource(PixelSource, Protocol):
    """Images in a file each, in 8 bits, which may be read in parts of any order."""

    @property
    def as_stored(self) -> bool:
        """Whether all have the size in which they are stored."""

    def name(self, index: int) -> str:
        """Name of an image."""

    def decoded(self, index: int) -> NDArray[np.uint8]:
        """Pixels ``(c, h, w)`` of one image."""

    def photograph(self, index: int) -> Image.Image:
        """One image, grey or RGB, in the size in which it is stored."""


@dataclass(frozen=True, slots=True)
class ClassOrder:
    """Another numbering of the classes.

    Attributes:
        labels: class of each image ``(n,)``.
        classes: names of the classes in that order.
        as_text: whether the names are sorted as text, and in the present order by number.
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    as_text: bool = True

    @property
    def shown(self) -> str:
        """The first names."""
        return ", ".join(self.classes[:5]) + (", …" if len(self.classes) > 5 else "")


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images in pixel space with labels.

    Attributes:
        name: name of the set.
        source: where the pixels come from.
        labels: class of each image ``(n,)``, None where there are none.
        sha256: hash of all images and labels; the same content has the same hash in any format.
        classes: names of the classes, empty where they have none.
        notes: how the content was interpreted, one line each.
        other_order: another common numbering of the same classes, if it is not the same.
        doubts: why the images may not be what they seem, one line each without a full stop.
    """

    name: str
    source: PixelSource
    labels: NDArray[np.int64] | None
    sha256: str
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    other_order: ClassOrder | None = None
    doubts: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        source: PixelSource,
        labels: NDArray[Any] | None,
        *,
        classes: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> ImageSet:
        """The images of ``source``, after a check of each of them.

        Raises:
            DataError: there are no images, they have too many pixels, a pixel is NaN or outside
                [0, 1], or the labels are not one class per image.
        """
        checked = _checked_labels(name, source, labels)
        digest = sha256(f"{len(source)}x{source.shape}".encode())
        doubts = source.check(digest)
        digest.update(b"unlabelled" if checked is None else checked.astype("<i8").tobytes())
        found = digest.hexdigest()
        return cls(name, source, checked, found, classes, notes, doubts=doubts)

    @classmethod
    def unread(
        cls,
        name: str,
        source: FileSource,
        labels: NDArray[Any] | None,
        *,
        classes: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> ImageSet:
        """The images of ``source``, of which none is read yet; the hash is of names and labels.

        Raises:
            DataError: there are no images, they have too many pixels, or the labels are not one
                class per image.
        """
        checked = _checked_labels(name, source, labels)
        digest = sha256(f"unread {len(source)}".encode())
        for index in range(len(source)):
            digest.update(f"{source.name(index)}\n".encode("utf-8", "surrogateescape"))
        digest.update(b"unlabelled" if checked is None else checked.astype("<i8").tobytes())
        return cls(name, source, checked, digest.hexdigest(), classes, notes)

    def in_other_order(self) -> ImageSet:
        """The same images with the labels of ``other_order``."""
        other = self.other_order
        if other is None:
            return self
        return ImageSet.of(
            self.name, self.source, other.labels, classes=other.classes, notes=self.notes
        )

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of every image."""
        return self.source.shape

    @property
    def info(self) -> DataInfo:
        """Identity of the set for a results file."""
        return DataInfo(self.name, self.sha256, len(self), self.classes)

    def pixels(self, indices: NDArray[np.int64]) -> Tensor:
        """Images ``(b, c, h, w)``, float32 in [0, 1], in the order of ``indices``."""
        return torch.from_numpy(self.source.read(np.asarray(indices, np.int64)))

    def require_fit(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        """Raise a DataError unless a model of this input shape and number of classes fits."""
        if self.shape != image_shape:
            message = (
                f"images of {self.name} are {_size(self.shape)}, the model expects "
                f"{_size(image_shape)}"
            )
            colours = {self.shape[0], image_shape[0]} == {1, 3}
            hint = "convert between grey and colour" if colours else "resize the images"
            raise DataError(
                message, hint=f"{hint} beforehand: robcert does not, because it changes the results"
            )
        if self.labels is None or self.labels.max() < num_classes:
            return
        where = int(np.argmax(self.labels >= num_classes))
        message = (
            f"label {self.labels[where]} of image {where} of {self.name} is not a class of "
            f"the model, which has {num_classes} classes"
        )
        one_up = self.labels.max() == num_classes and self.labels.min() == 1
        hint = "count the classes from 0" if one_up else "use data with the classes of the model"
        raise DataError(message, hint=hint)

    def selection_notes(self, indices: NDArray[np.int64]) -> tuple[str, ...]:
        """Warnings about the selection of images at ``indices``, one line each."""
        if self.labels is None or len(indices) < 10 or self.labels.min() == self.labels.max():
            return ()
        chosen = np.unique(self.labels[indices])
        if len(chosen) > 1:
            return ()
        note = f"all {len(indices)} selected images have class {chosen[0]}: the set is sorted"
        return (f"{note}; select every k-th image instead of the first ones",)


def select(
    n: int,
    *,
    limit: int | None = None,
    every: int | None = None,
    indices: tuple[int, ...] = (),
) -> NDArray[np.int64]:
    """Indices of the selected images, out of ``n``.

    Args:
        n: size of the data set.
        limit: largest number of images.
        every: select every ``every``-th image.
        indices: select exactly these instead.

    >>> select(10, limit=2, every=4)
    array([0, 4])
    """
    if not indices:
        require_at_least("limit", 1 if limit is None else limit, 1)
        require_at_least("every", 1 if every is None else every, 1)
        return np.arange(0, n, min(every or 1, max(n, 1)), dtype=np.int64)[:limit]
    if limit is not None or every is not None:
        message = "indices cannot be combined with limit or every"
        raise InvalidParameterError(message)
    for index in indices:
        if not 0 <= index < n:
            message = f"there is no image {index}: the data set has {n}, counted from 0"
            raise DataError(message)
    return np.array(list(dict.fromkeys(indices)), np.int64)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of the selected images, for one of several machines.

    Attributes:
        number: which part, counted from 1.
        of: number of parts.

    Raises:
        InvalidParameterError: there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 1 <= self.number <= self.of:
            message = f"there is no shard {self.number}/{self.of}"
            raise InvalidParameterError(message, hint="shards are counted from 1: 1/8 to 8/8")

    def part_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every ``of``-th of ``indices``.

        Raises:
            InvalidParameterError: there are none.

        >>> Shard(2, 3).part_of(np.arange(8))
        array([1, 4, 7])
        """
        part = indices[self.number - 1 :: self.of]
        if not len(part):
            message = f"shard {self.number}/{self.of} of {len(indices)} images has none"
            raise InvalidParameterError(message, hint="take fewer shards")
        return part


def _checked_labels(
    name: str, source: PixelSource, labels: NDArray[Any] | None
) -> NDArray[np.int64] | None:
    """``labels`` as classes, None where there are none.

    Raises:
        DataError: there are no images, they have too many pixels, or the labels are not one class
            per image.
    """
    if len(source) == 0:
        message = f"{name} holds no images"
        raise DataError(message)
    require_pixel_count(name, source.shape)
    checked = None if labels is None else class_labels(name, labels)
    if checked is not None and len(checked) != len(source):
        message = f"{name} has {len(source)} images but {len(checked)} labels"
        raise DataError(message)
    return checked


LARGEST_CLASS = 2**31 - 1
"""Largest number that is a class; larger ones are codes of something else, or overflowed."""


def class_labels(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Labels ``(n,)`` as classes from 0; one-hot rows and ``(n, 1, …)`` are converted.

    Raises:
        DataError: they are not classes.
    """
    labels = np.asarray(labels)
    if labels.ndim > 2 and math.prod(labels.shape[1:]) == labels.shape[-1]:
        labels = labels.reshape(len(labels), labels.shape[-1])  # (n, 1, 1, k)
    if labels.ndim > 1 and math.prod(labels.shape[1:]) == 1:
        labels = labels.reshape(len(labels))
    if labels.dtype.kind in "biuf" and labels.ndim == 2 and _one_hot(labels):
        labels = labels.argmax(1)
    problem, hint = _no_classes(labels)
    if problem:
        message = f"labels of {name} {problem}"
        raise DataError(message, hint=hint)
    return labels.astype(np.int64)


def _one_hot(labels: NDArray[Any]) -> bool:
    """Whether each row of ``labels (n, k)`` holds one 1 and else zeros."""
    return bool(labels.size and (np.sort(labels, axis=1) == np.eye(labels.shape[1])[-1]).all())


def _no_classes(labels: NDArray[Any]) -> tuple[str, str]:
    """Why ``labels`` are not classes, and what to do; empty if they are."""
    count = "store one whole number per image, counted from 0"
    if labels.dtype.kind not in "biuf":
        return f"are {labels.dtype}, not numbers", count
    if labels.ndim != 1:
        kind = "one-hot rows" if labels.ndim == 2 else "one-hot"
        return f"have the shape {labels.shape}, neither one number per image nor {kind}", count
    wrong = np.zeros(labels.shape, bool)
    if labels.dtype.kind == "f":
        wrong = ~(np.isfinite(labels) & (labels == np.floor(labels)))
        if wrong.any():
            at = int(wrong.argmax())
            return f"are not whole numbers: image {at} has {labels[at]}", count
    if labels.dtype.kind == "b" or not labels.size:
        return "", ""
    if labels.min() < 0:
        at = int(labels.argmin())
        hint = "leave out images without a class" if labels.min() == -1 else count
        return f"have a minimum of {labels[at]} (image {at}), but classes count from 0", hint
    if float(labels.max()) > LARGEST_CLASS:  # as an int64 it could wrap around
        at = int(labels.argmax())
        hint = "a negative number or a missing value may have been stored in an unsigned type"
        return f"are too large for classes: image {at} has {labels[at]}", hint
    return "", ""


def darkness_doubts(brightest: float) -> tuple[str, ...]:
    """A doubt if the ``brightest`` pixel of all images, in [0, 1], is far from white."""
    if brightest >= DARK:
        return ()
    return (
        f"the brightest pixel of all images is {brightest:.2g} where white is 1: white "
        "may be another number in them, or they were scaled twice",
    )


def require_pixels(name: str, values: NDArray[Any], first: int) -> None:
    """Raise a DataError unless the float ``values`` of images from ``first`` on lie in [0, 1]."""
    low, high = float(values.min()), float(values.max())  # NaN if any value is NaN
    if low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE:
        return
    bad = ~((values >= -RANGE_TOLERANCE) & (values <= 1 + RANGE_TOLERANCE))
    image = first + int(bad.reshape(len(values), -1).any(1).argmax())
    finite = values[np.isfinite(values)]
    if finite.size < values.size:
        message = f"image {image} of {name} has pixels that are not finite numbers"
        raise DataError(message)
    message = f"image {image} of {name} has pixels outside [0, 1]: from {low:.4g} to {high:.4g}"
    if low < -RANGE_TOLERANCE:
        hint = (
            "they look normalised: store the original pixels (x * std + mean) and make the "
            "normalisation part of the model"
        )
    elif high <= 255:
        hint = "they look like 0 to 255; divide by 255, or store them as uint8"
    else:
        hint = "scale black to 0 and white to 1"
    raise DataError(message, hint=hint)


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    colour = {1: "grey", 3: "colour"}.get(channels, "")
    return f"{channels}x{height}x{width}" + (f" ({colour})" if colour else "")
