"""Images in a folder: one sub-folder per class, or flat with or without a table of labels."""

from __future__ import annotations

import contextlib
import csv
import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from robcert.certify.errors import DataError

from .files import readable
from .image_set import ClassOrder, Hash, ImageSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
GREY = ("1", "L")
COLOUR = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LA", "PA")
SPLITS = {"train", "test", "val", "valid", "validation"}
DECODED_BYTES = 500_000_000
LABELS_FILE = "labels.csv"


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

    def check(self, digest: Hash) -> None:
        """Add every image to ``digest``; raise a DataError for a file that is not an image.

        Pixels are hashed, and thereby every file decoded, unless that would take minutes: then
        the files' bytes are hashed, and a broken image is found when it is read.
        """
        decode = len(self) * math.prod(self.shape) <= DECODED_BYTES
        for path in self.paths:
            digest.update(self._decoded(path).data if decode else path.read_bytes())

    def _decoded(self, path: Path) -> NDArray[np.uint8]:
        """Pixels ``(c, h, w)`` of one file."""
        with _opened(path) as image:
            converted = image.convert("L" if self.shape[0] == 1 else "RGB")
        if self.resize:
            converted = _centre(converted, self.resize, self.shape[1:])
        pixels = np.asarray(converted, np.uint8)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels)


def from_folder(folder: Path, *, name: str = "", resize: int = 0, crop: int = 0) -> ImageSet:
    """Image set of a folder of image files.

    Sub-folders are classes, numbered in the order of their names (by value where all names are
    numbers; if their order as text is another one, it is kept as the other order). A flat folder
    has the labels of its ``labels.csv`` (rows ``file,label``), or none.

    Args:
        folder: where the files are.
        name: of the set; else the folder's.
        resize: resize the shorter side to this, as data sets of photographs prescribe.
        crop: side of the square cut out of the centre then.

    Raises:
        DataError: no images, several sizes, or labels that do not fit the files.
    """
    by_class = {d.name: _images(d, "**/*") for d in sorted(folder.iterdir()) if d.is_dir()}
    by_class = {key: paths for key, paths in by_class.items() if paths}
    flat = _images(folder, "*")
    _require_one_kind(folder, flat, list(by_class))
    classes: tuple[str, ...] = ()
    labels: NDArray[np.int64] | None
    if by_class:
        order = _numbered(list(by_class))
        classes = tuple(sorted(by_class, key=order.__getitem__))
        paths = [path for key in classes for path in by_class[key]]
        labels = np.array([order[key] for key in classes for _ in by_class[key]], np.int64)
        note = f"{len(classes)} classes by the names of the sub-folders"
    else:
        paths = flat
        labels, note = _table_of_labels(folder, flat)
    shape, colour_note = _common_shape(paths, any_size=bool(resize))
    if resize:
        shape = (shape[0], crop, crop)
    source = FolderSource(tuple(paths), shape, resize)
    notes = tuple(text for text in (note, colour_note) if text)
    found = ImageSet.of(name or folder.name, source, labels, classes=classes, notes=notes)
    return replace(found, other_order=_text_order([len(by_class[key]) for key in classes], classes))


def _images(folder: Path, pattern: str) -> list[Path]:
    found = (path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not path.name.startswith(".") and path.is_file())


def _require_one_kind(folder: Path, flat: list[Path], classes: list[str]) -> None:
    problem = hint = ""
    if not flat and not classes:
        problem = "holds no image files"
        hint = f"images are {', '.join(sorted(SUFFIXES))}, or give an .npz file"
    elif flat and classes:
        problem = f"holds images beside the sub-folders {', '.join(classes[:3])}"
        hint = "put every image into the sub-folder of its class, or all into one folder"
    elif classes and SPLITS.issuperset(key.lower() for key in classes):
        problem = f"holds the splits {', '.join(classes)}, not classes"
        hint = f"give one of them, for instance {folder / classes[0]}"
    if problem:
        message = f"{folder} {problem}"
        raise DataError(message, hint=hint)


def _numbered(names: list[str]) -> dict[str, int]:
    """Class numbers of class names: their value if all are numbers, else their sorted order."""
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(sorted(names))}


def _text_order(sizes: list[int], classes: tuple[str, ...]) -> ClassOrder | None:
    """The order of the ``classes`` as text, None if it numbers them as they are.

    Args:
        sizes: number of images of each class.
        classes: their names, in the order of the images.
    """
    ordered = sorted(classes)
    if not classes or _numbered(list(classes)) == {name: at for at, name in enumerate(ordered)}:
        return None
    numbers = [ordered.index(name) for name in classes]
    return ClassOrder(np.repeat(np.array(numbers, np.int64), sizes), tuple(ordered))


def _table_of_labels(folder: Path, paths: list[Path]) -> tuple[NDArray[np.int64] | None, str]:
    table = folder / LABELS_FILE
    if not table.is_file():
        return None, f"no labels: neither sub-folders nor {LABELS_FILE}"
    with readable(table), table.open(newline="", encoding="utf-8") as file:
        rows = {row[0].strip(): row[1].strip() for row in csv.reader(file) if len(row) >= 2}
    lacking = [path.name for path in paths if path.name not in rows]
    if lacking:
        message = f"{table} has no row for {lacking[0]}"
        raise DataError(message, hint="rows are file,label")
    names = [rows[path.name] for path in paths]
    numbers = _numbered(sorted(set(names)))
    return np.array([numbers[name] for name in names], np.int64), f"labels from {LABELS_FILE}"


def _common_shape(paths: list[Path], *, any_size: bool) -> tuple[tuple[int, int, int], str]:
    """(c, h, w) of all ``paths``, and a note if they differ in colour."""
    modes = set()
    first: tuple[int, int] | None = None
    for path in paths:
        with _opened(path) as image:
            modes.add(image.mode)
            size = image.size
        first = first or size
        if size != first and not any_size:
            message = (
                f"{path} is {size[0]}x{size[1]} pixels, {paths[0].name} is {first[0]}x{first[1]}"
            )
            raise DataError(message, hint="bring the images to the size that the model takes")
        if image.mode not in (*GREY, *COLOUR):
            message = f"{path} has pixels of type {image.mode}, not 8 bits of grey or colour"
            raise DataError(message, hint="store it as 8-bit grey or RGB")
    width, height = first or (0, 0)
    grey = modes <= set(GREY)
    note = "" if grey or modes == {"RGB"} else f"images of types {sorted(modes)} are read as RGB"
    return (1 if grey else 3, height, width), note


def _centre(image: Image.Image, resize: int, size: tuple[int, int]) -> Image.Image:
    """Centre of ``image`` after its shorter side is resized to ``resize``, as torchvision does."""
    scale = resize / min(image.size)
    wide, high = (max(resize, int(side * scale)) for side in image.size)
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    height, width = size
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return image.crop((left, top, left + width, top + height))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        message = f"cannot read the image {path}: it is truncated or not an image"
        raise DataError(message) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"the image {path} has too many pixels"
        raise DataError(message) from error
