"""Images in a tar archive as WebDataset packs them: ``0001.jpg`` with its class in ``0001.cls``."""

from __future__ import annotations

import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from robcert.certify.addresses import without_secrets
from robcert.certify.errors import DataError
from robcert.certify.visible import visible_line

from .class_folders import SUFFIXES
from .limits import MOST_CHUNK
from .packed_text import PackedText
from .remote import opened, part_of, reached

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASS = ".cls"
"""Ending of the member that holds the class of an image, as a number."""

MOST_HEAD = 2**20
"""Bytes of a header of a member, which is read as a whole."""

MOST_IMAGES = 2**22
"""Images of an archive, whose list is in memory."""

LONGEST_CLASS = 32
"""Bytes of a class."""


class TarImages:
    """The images of one archive, which is read member by member.

    Attributes:
        address: the archive.
        labels: class of each image, None where there are none.
        classes: empty: the archive has no names of classes.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, address: str) -> None:
        """Read the list of members, and the classes.

        Raises:
            DataError: it is no such archive, or an image has two files, or only some have a class.
        """
        self.address = address
        images, classes = _members(address)
        keys = list(images)
        self._names = PackedText(images[key][0] for key in keys)
        places = [images[key][1:] for key in keys]
        self._places = np.array(places, np.int64).reshape(len(places), 2)
        self.labels: NDArray[Any] | None = None
        if classes:
            if lacking := [key for key in keys if key not in classes]:
                message = f"{self._of(lacking[0])} has an image without {CLASS}, others have one"
                raise DataError(message)
            self.labels = np.array([classes[key] for key in keys])

    def __len__(self) -> int:
        return len(self._names)

    def image(self, row: int) -> bytes:
        """Content of the image file ``row``."""
        start, size = self._places[row].tolist()
        return part_of(self.address, start, size)

    def name(self, row: int) -> str:
        """Its name, for messages."""
        return self._of(self._names[row])

    def _of(self, member: str) -> str:
        return f"{without_secrets(self.address)}: {visible_line(member)}"


def _members(address: str) -> tuple[dict[str, tuple[str, int, int]], dict[str, int]]:
    """Name, offset and size of the image of each key, and the classes, in the archive's order."""
    images: dict[str, tuple[str, int, int]] = {}
    classes: dict[str, int] = {}
    shown = without_secrets(address)
    with opened(address) as file, reached(address):
        headers: Any = _Headers(file)
        try:
            with tarfile.open(fileobj=headers, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                    key, suffix = _key(member.name)
                    if not member.isreg() or suffix not in {CLASS, *SUFFIXES}:
                        continue
                    of = f"{shown}: {visible_line(member.name)}"
                    if suffix == CLASS:
                        classes[key] = _class_of(archive, member, of)
                        continue
                    if member.issparse() or member.size > MOST_CHUNK:
                        message = f"{of} has holes, or more than {MOST_CHUNK >> 20} MiB"
                        raise DataError(message, hint="store the images as PNG or JPEG")
                    if key in images:
                        message = f"{of}: there is another image of that name"
                        raise DataError(message, hint="store one image per sample")
                    images[key] = member.name, member.offset_data, member.size
                    if len(images) > MOST_IMAGES:
                        message = f"{shown} holds more than {MOST_IMAGES:,} images"
                        raise DataError(message, hint="split it into several archives")
        except tarfile.TarError as error:
            message = f"cannot read {shown}: it is no tar archive, or compressed or damaged"
            raise DataError(
                message, hint="images are read in any order: do not compress"
            ) from error
    return images, classes


def _key(name: str) -> tuple[str, str]:
    """Name of the sample, which ends at the first dot of the file's name, and the ending."""
    path = PurePosixPath(name)
    stem, dot, rest = path.name.partition(".")
    return str(path.parent / stem), f"{dot}{rest}".lower() if not path.name.startswith(".") else ""


def _class_of(archive: tarfile.TarFile, member: tarfile.TarInfo, of: str) -> int:
    file = archive.extractfile(member) if member.size <= LONGEST_CLASS else None
    content = file.read(LONGEST_CLASS) if file else b""
    text = content.decode("ascii", "replace").strip()
    if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 18:
        message = f"{of} is not a whole number"
        raise DataError(message, hint=f"a {CLASS} member holds the class of the image, from 0")
    return int(text)


class _Headers:
    """An open archive of which no more than a header is read at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_HEAD:
            message = "a header is too long"
            raise tarfile.HeaderError(message)
        return self._file.read(size)
