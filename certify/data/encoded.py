"""Images in PNG, JPEG or their like, many to a file: tar archives (WebDataset) and Parquet."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from robcert.certify.addresses import file_name, suffix_of, without_secrets
from robcert.certify.errors import DataError

from .class_folders import SPLITS
from .copies import Copies
from .image_file import GREY, decoded, opened_bytes, require_8_bits, require_alike
from .image_set import Hash, ImageSet, darkness_doubts
from .parquet_file import ParquetImages
from .tar_file import TarImages

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

SUFFIXES = (".tar", ".parquet")
"""Endings of files that hold encoded images."""

DECODED_BYTES = 500_000_000
"""Pixels of a set that are decoded to be hashed; of larger ones the bytes of the files are."""


class EncodedImages(Protocol):
    """One file of encoded images.

    Attributes:
        labels: label of each image, None where there are none.
        classes: names of the classes, empty where the file has none.
    """

    labels: NDArray[Any] | None
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def image(self, row: int) -> bytes:
        """Content of the image file ``row``."""

    def name(self, row: int) -> str:
        """Its name, for messages."""


@dataclass(frozen=True, slots=True)
class EncodedSource:
    """The images of several files one after the other, decoded on demand.

    Attributes:
        files: they.
        starts: number of images before each file, and of all ``(files + 1,)``.
        shape: (c, h, w) of an image, that of the first.
    """

    files: tuple[EncodedImages, ...]
    starts: NDArray[np.int64]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels ``(b, c, h, w)`` in [0, 1]."""
        images = np.stack([self.decoded(int(index)) for index in indices])
        return images.astype(np.float32) / np.float32(255)

    def check(self, digest: Hash) -> tuple[str, ...]:
        """Doubts, after every image was read and added to ``digest``.

        Raises:
            DataError: one is damaged, or not like the first.
        """
        decode = len(self) * math.prod(self.shape) <= DECODED_BYTES
        brightest, copies = 0, Copies(len(self))
        for index in range(len(self)):
            if decode:
                pixels = self.decoded(index)
                brightest = max(brightest, int(pixels.max()))
                digest.update(pixels.data)
                copies.add(pixels.data)
                continue
            content, name = self._content(index)
            with opened_bytes(content, name) as image:
                require_alike(name, image, self.shape)
            digest.update(content)
            copies.add(content)
        return (*(darkness_doubts(brightest / 255) if decode else ()), *copies.doubts())

    def _content(self, index: int) -> tuple[bytes, str]:
        """Content and name of an image file."""
        file, row = self._place(index)
        return file.image(row), file.name(row)

    def _place(self, index: int) -> tuple[EncodedImages, int]:
        """The file of an image, and its row there."""
        number = int(np.searchsorted(self.starts, index, "right")) - 1
        return self.files[number], index - int(self.starts[number])

    @property
    def as_stored(self) -> bool:
        """Whether all images have the size in which they are stored: they must."""
        return True

    def name(self, index: int) -> str:
        """Archive and name of an image."""
        file, row = self._place(index)
        return file.name(row)

    def decoded(self, index: int) -> NDArray[np.uint8]:
        """Pixels ``(c, h, w)`` of one image.

        Raises:
            DataError: it is damaged, or not like the first.
        """
        content, name = self._content(index)
        with opened_bytes(content, name) as image:
            require_alike(name, image, self.shape)
            return decoded(image, self.shape[0])

    def photograph(self, index: int) -> Image.Image:
        """One image, grey or RGB, in the size in which it is stored.

        Raises:
            DataError: it is damaged, or in colour although the first is grey.
        """
        content, name = self._content(index)
        with opened_bytes(content, name) as image:
            require_alike(name, image, self.shape, any_size=True)
            return image.convert("L" if self.shape[0] == 1 else "RGB")


def from_encoded(addresses: list[str], *, unread: bool = False) -> ImageSet:
    """Image set of files ``.tar`` and ``.parquet``, on this machine or another, one after another.

    The images are read as needed, and decoded; all of them once at the beginning, for the hash,
    unless the set is to be ``unread``. Grey images among RGB ones are read as RGB.

    Raises:
        DataError: a file cannot be read, holds no images, or belongs to another part of the data
            set than the others; or some have labels and others have not.
    """
    _require_one_split(addresses)
    files = tuple(_opened(address) for address in addresses)
    sizes = [len(file) for file in files]
    if not sum(sizes):
        message = f"{without_secrets(addresses[0])} holds no images"
        raise DataError(message)
    first = next(file for file in files if len(file))
    content, name = first.image(0), first.name(0)
    with opened_bytes(content, name) as image:
        require_8_bits(name, image)
        shape = (1 if image.mode in GREY else 3, image.height, image.width)
    source = EncodedSource(files, np.cumsum([0, *sizes]), shape)
    make = ImageSet.unread if unread else ImageSet.of
    return make(
        _common_name(addresses), source, _all_labels(addresses, files), classes=_classes(files)
    )


def _opened(address: str) -> EncodedImages:
    return TarImages(address) if suffix_of(address) == ".tar" else ParquetImages(address)


def _all_labels(addresses: list[str], files: tuple[EncodedImages, ...]) -> NDArray[Any] | None:
    """The labels of all files, None where none has any."""
    known = [file.labels for file in files if file.labels is not None]
    if not known:
        return None
    if len(known) < len(files):
        lacking = next(a for a, file in zip(addresses, files, strict=True) if file.labels is None)
        message = f"{without_secrets(lacking)} has no labels, and other files of the set have"
        raise DataError(message)
    return np.concatenate(known)


def _classes(files: tuple[EncodedImages, ...]) -> tuple[str, ...]:
    """Names of the classes, where all files agree."""
    named = {file.classes for file in files}
    return named.pop() if len(named) == 1 else ()


def _require_one_split(addresses: list[str]) -> None:
    """Raise if the names of the files begin with words for several parts of a data set.

    Raises:
        DataError: they do.
    """
    firsts = [re.split(r"[^a-z]", file_name(address).lower())[0] for address in addresses]
    splits = {SPLITS[word]: word for word in firsts if word in SPLITS}
    if len(splits) > 1:
        words = ", ".join(sorted(splits.values()))
        message = f"the files belong to several parts of a data set: {words}"
        hint = f"give those of one, for instance {sorted(splits.values())[0]}*"
        raise DataError(message, hint=hint)


def _common_name(addresses: list[str]) -> str:
    """What the names of the files have in common, without numbers at its end."""
    names = [file_name(address) for address in addresses]
    common = names[0]
    for name in names[1:]:
        while not name.startswith(common):
            common = common[:-1]
    if len(names) == 1:
        return common
    return re.sub(r"[-_.\d]+$", "", common) or names[0]
