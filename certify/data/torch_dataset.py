"""Images of a PyTorch data set in memory, such as those of torchvision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from robcert.certify.errors import DataError

from .arrays import ArraySource
from .image_set import ImageSet
from .limits import GIB, MOST_IN_MEMORY

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.utils.data import Dataset

MODES = ("L", "RGB")
"""Modes of Pillow's images that are read: 8 bits, grey or colour."""

READ_TWICE = 8
"""Images that are read twice, which shows random transforms."""


def from_dataset(dataset: Dataset[Any]) -> ImageSet:
    """Image set of a data set by number, read once into memory.

    Each entry is an image, or an image and its class. An image is one of Pillow in 8 bits, or a
    tensor or an array ``(c, h, w)``, uint8 from 0 to 255 or float from 0 to 1.

    Raises:
        DataError: the data set has no length, its images have different sizes or more than 4 GiB,
            change from one reading to the next, or are no images.
    """
    name = type(dataset).__name__
    try:
        n = len(dataset)  # type: ignore[arg-type]
    except TypeError:
        message = f"{name} has no length: its images cannot be selected by number"
        raise DataError(message, hint="pass a data set by number, or arrays") from None
    if not n:
        message = f"{name} holds no images"
        raise DataError(message)
    first, label = _entry(name, dataset, 0)
    size = n * math.prod(first.shape) * first.itemsize
    if size > MOST_IN_MEMORY:
        message = f"the images of {name} take {size / GIB:.3g} GiB, at most 4 are held in memory"
        raise DataError(message, hint="pass the folder or the archive that it reads")
    images, labels = np.empty((n, *first.shape), first.dtype), [label]
    images[0] = first
    for index in range(1, n):
        image, label = _entry(name, dataset, index)
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            message = (
                f"image {index} of {name} is {_shown(image)}, image 0 is {_shown(first)}: all must "
                "have one size and type"
            )
            raise DataError(message, hint="let its transform resize and crop them")
        images[index] = image
        labels.append(label)
    for index in range(min(n, READ_TWICE)):
        if not np.array_equal(_entry(name, dataset, index)[0], images[index], equal_nan=True):
            message = f"image {index} of {name} is another one when it is read again"
            raise DataError(message, hint="use the transform of the evaluation, without chance")
    source = ArraySource(name, images, first.shape, channels_last=False)
    known = np.array(labels) if any(one is not None for one in labels) else None
    return ImageSet.of(name, source, known, classes=_names(dataset))


def _entry(name: str, dataset: Dataset[Any], index: int) -> tuple[NDArray[Any], Any]:
    """Image ``(c, h, w)`` and class of an entry; no class if it has none."""
    entry = dataset[index]
    image, label = entry if isinstance(entry, tuple | list) and len(entry) == 2 else (entry, None)
    if isinstance(image, Image.Image):
        if image.mode not in MODES:
            message = f"image {index} of {name} has the mode {image.mode}, not one of L and RGB"
            raise DataError(message, hint='let its transform convert it: image.convert("RGB")')
        pixels = np.asarray(image)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    elif isinstance(image, Tensor | np.ndarray) and image.ndim == 3:
        pixels = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    else:
        message = f"entry {index} of {name} is neither an image nor (image, class)"
        hint = "an image is one of Pillow, or a tensor (c, h, w)"
        raise DataError(message, hint=hint)
    if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
        message = f"image {index} of {name} is of type {pixels.dtype}, not uint8 or float"
        raise DataError(message)
    return pixels, label.item() if isinstance(label, Tensor) and label.numel() == 1 else label


def _names(dataset: Dataset[Any]) -> tuple[str, ...]:
    """Names of the classes, if ``dataset`` has them where torchvision's have."""
    found = getattr(dataset, "classes", None)
    named = isinstance(found, list | tuple) and all(isinstance(one, str) for one in found)
    return tuple(found) if named and found else ()


def _shown(image: NDArray[Any]) -> str:
    return f"{'x'.join(map(str, image.shape))} {image.dtype}"
