"""Images in a folder: one sub-folder per class, or flat with or without a table of labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .class_folders import contents
from .class_names import class_numbers, other_class_order
from .image_file import common_shape, decoded, opened
from .image_set import Hash, ImageSet, darkness_doubts
from .label_table import table_of_labels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DECODED_BYTES = 500_000_000


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Image files, decoded on demand.

    Attributes:
        paths: the files.
        shape: (c, h, w) of an image.
        resize: length that the shorter side is resized to before the centre is cut out; 0 leaves
            images as they are, and they must all be of one size.
    """

    paths: tuple[Path, ...]
    shape: tuple[int, int, int]
    resize: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels ``(b, c, h, w)`` in [0, 1]."""
        images = np.stack([self._decoded(self.paths[i]) for i in indices])
        return images.astype(np.float32) / np.float32(255)

    def check(self, digest: Hash) -> tuple[str, ...]:
        """Doubts, after every image was added to ``digest``; a DataError for a broken file.

        Pixels are hashed, and thereby every file decoded, unless that would take minutes: then
        the files' bytes are hashed, and a broken image is found when it is read.
        """
        decode = len(self) * math.prod(self.shape) <= DECODED_BYTES
        brightest = 0
        for path in self.paths:
            if decode:
                pixels = self._decoded(path)
                brightest = max(brightest, int(pixels.max()))
                digest.update(pixels.data)
            else:
                digest.update(path.read_bytes())
        return darkness_doubts(brightest / 255) if decode else ()

    def _decoded(self, path: Path) -> NDArray[np.uint8]:
        """Pixels ``(c, h, w)`` of one file."""
        with opened(path) as image:
            if not self.resize:
                return decoded(image, self.shape[0])
            converted = image.convert("L" if self.shape[0] == 1 else "RGB")
        return decoded(_centre(converted, self.resize, self.shape[1:]), self.shape[0])


def from_folder(folder: Path, *, name: str = "", resize: int = 0, crop: int = 0) -> ImageSet:
    """Image set of a folder of image files.

    Sub-folders are classes, numbered in the order of their names (by value where all names are
    numbers; another common order of names with numbers is kept as the other order). A flat folder
    has the labels of its ``labels.csv`` (rows ``file,label``), or none.

    Args:
        folder: where the files are.
        name: of the set; else the folder's.
        resize: resize the shorter side to this, as data sets of photographs prescribe.
        crop: side of the square cut out of the centre then.

    Raises:
        DataError: no images, several sizes, sub-folders that are not classes, or labels that do
            not fit the files.
    """
    found = contents(folder)
    labels: NDArray[np.int64] | None
    classes, sizes = tuple(found.classes), [len(one.images) for one in found.classes.values()]
    if classes:
        numbers = class_numbers(list(classes))
        paths = [path for one in found.classes.values() for path in one.images]
        labels = np.repeat(np.array([numbers[name] for name in classes], np.int64), sizes)
        counted = f"{len(classes)} classes" if len(classes) > 1 else "one class"
        labelled: tuple[str, ...] = (f"{counted} by the names of the sub-folders",)
    else:
        paths = found.flat
        labels, labelled = table_of_labels(folder, paths)
    shape, read = common_shape(paths, as_stored=bool(resize))
    if resize:
        shape = (shape[0], crop, crop)
    source = FolderSource(tuple(paths), shape, resize)
    notes = (*labelled, *found.notes, *read)
    made = ImageSet.of(name or folder.name, source, labels, classes=classes, notes=notes)
    return replace(made, other_order=other_class_order(classes, sizes, found.without_images))


def _centre(image: Image.Image, resize: int, size: tuple[int, int]) -> Image.Image:
    """Centre of ``image`` after its shorter side is resized to ``resize``, as torchvision does."""
    scale = resize / min(image.size)
    wide, high = (max(resize, int(side * scale)) for side in image.size)
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    height, width = size
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return image.crop((left, top, left + width, top + height))
