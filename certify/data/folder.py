"""Images in a folder: one sub-folder per class, or flat with or without a table of labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .class_folders import contents
from .class_names import class_numbers, other_class_order
from .copies import Copies
from .image_file import centre_crop, common_shape, decoded, opened, require_alike
from .image_set import Hash, ImageSet, darkness_doubts
from .label_table import table_of_labels
from .packed_text import PackedText

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

DECODED_BYTES = 500_000_000

SAMPLE = 100
"""About so many files are opened at once of a folder whose files are read as needed."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Image files, decoded on demand.

    Attributes:
        folder: where the files are.
        names: their paths in it.
        shape: (c, h, w) of an image.
        resize: length that the shorter side is resized to before the centre is cut out; 0 leaves
            images as they are, and they must all be of one size.
    """

    folder: Path
    names: PackedText
    shape: tuple[int, int, int]
    resize: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def as_stored(self) -> bool:
        """Whether all images have the size in which they are stored."""
        return not self.resize

    def name(self, index: int) -> str:
        """Path of an image in the folder."""
        return self.names[index]

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels ``(b, c, h, w)`` in [0, 1]."""
        images = np.stack([self.decoded(int(index)) for index in indices])
        return images.astype(np.float32) / np.float32(255)

    def decoded(self, index: int) -> NDArray[np.uint8]:
        """Pixels ``(c, h, w)`` of one image.

        Raises:
            DataError: it is damaged, or not like the others.
        """
        if self.resize:
            image = centre_crop(self.photograph(index), self.resize, self.shape[1:])
            return decoded(image, self.shape[0])
        path = self.folder / self.names[index]
        with opened(path) as image:
            require_alike(str(path), image, self.shape)
            return decoded(image, self.shape[0])

    def photograph(self, index: int) -> Image.Image:
        """One image, grey or RGB, in the size in which it is stored.

        Raises:
            DataError: it is damaged, or in colour although the others are grey.
        """
        path = self.folder / self.names[index]
        with opened(path) as image:
            require_alike(str(path), image, self.shape, any_size=True)
            return image.convert("L" if self.shape[0] == 1 else "RGB")

    def check(self, digest: Hash) -> tuple[str, ...]:
        """Doubts, after every image was added to ``digest``; a DataError for a broken file.

        Pixels are hashed, and thereby every file decoded, unless that would take minutes: then
        the files' bytes are hashed, and a broken image is found when it is read.
        """
        decode = len(self) * math.prod(self.shape) <= DECODED_BYTES
        brightest, copies = 0, Copies(len(self))
        for index, name in enumerate(self.names):
            content: bytes | memoryview
            if decode:
                pixels = self.decoded(index)
                brightest = max(brightest, int(pixels.max()))
                content = pixels.data
            else:
                content = (self.folder / name).read_bytes()
            digest.update(content)
            copies.add(content)
        return (*(darkness_doubts(brightest / 255) if decode else ()), *copies.doubts())


def from_folder(
    folder: Path, *, name: str = "", resize: int = 0, crop: int = 0, unread: bool = False
) -> ImageSet:
    """Image set of a folder of image files.

    Sub-folders are classes, numbered in the order of their names (by value where all names are
    numbers; another common order of names with numbers is kept as the other order). A flat folder
    has the labels of its ``labels.csv`` (rows ``file,label``), or none.

    Args:
        folder: where the files are.
        name: of the set; else the folder's.
        resize: resize the shorter side to this, as data sets of photographs prescribe.
        crop: side of the square cut out of the centre then.
        unread: whether only a sample of the files is opened; see :func:`load_images`.

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
    opened_now = paths[:: 1 + len(paths) // SAMPLE] if unread else paths
    shape, read = common_shape(opened_now, as_stored=bool(resize) or unread)
    if resize:
        shape = (shape[0], crop, crop)
    names = PackedText(str(path.relative_to(folder)) for path in paths)
    source = FolderSource(folder, names, shape, resize)
    notes = (*labelled, *found.notes, *(() if unread else read))
    make = ImageSet.unread if unread else ImageSet.of
    made = make(name or folder.name, source, labels, classes=classes, notes=notes)
    return replace(made, other_order=other_class_order(classes, sizes, found.without_images))
