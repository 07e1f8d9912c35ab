"""Image files: which of them are read, and what their headers say."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from robcert.certify.errors import DataError

from .limits import require_pixel_count
from .reading import require_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

GREY = ("1", "L")
COLOUR = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LA", "PA")

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats that are read, by content; others may run programs (PostScript) or are rarely tested."""

DAMAGE = (
    *(UnidentifiedImageError, OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError),
    *(IndexError, AttributeError, OverflowError, ZeroDivisionError, AssertionError, RuntimeError),
    *(struct.error, zlib.error),
)
"""What PIL's decoders raise for damaged files; they have no error class of their own."""

EXIF_AS_TEXT = "Raw profile type exif"

ORIENTATION = 0x0112
"""EXIF tag of the orientation; 1 is upright."""


def common_shape(
    paths: list[Path], *, as_stored: bool
) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """(c, h, w) of all images, and notes on how they are read.

    Args:
        paths: the files.
        as_stored: accept several sizes, and images that an EXIF tag turns, as they are stored.

    Raises:
        DataError: an image is broken, of another size, turned, or has more than 8 bits per channel.
    """
    modes, turned, several = set[str](), 0, 0
    first: tuple[int, int] | None = None
    for path in paths:
        with opened(path) as image:
            require_8_bits(str(path), image)
            mode, size, turn = image.mode, image.size, orientation(image)
            several += _has_frames(image)
        modes.add(mode)
        turned += turn != 1
        if not as_stored:
            require_upright(str(path), turn)
        first = first or size
        if size != first and not as_stored:
            message = (
                f"{path} is {size[0]}x{size[1]} pixels, {paths[0].name} is {first[0]}x{first[1]}"
            )
            raise DataError(message, hint="bring the images to the size that the model takes")
    width, height = first or (0, 0)
    grey = modes <= set(GREY)
    notes = []
    if not grey and modes != {"RGB"}:
        without = ", without transparency" if modes & {"RGBA", "LA", "PA", "P"} else ""
        notes.append(f"images of types {sorted(modes)} are read as RGB{without}")
    if several:
        notes.append(f"files of several frames, of which the first is read: {several}")
    if turned:
        notes.append(f"images whose EXIF orientation is not applied, as in torchvision: {turned}")
    return (1 if grey else 3, height, width), tuple(notes)


def _has_frames(image: Image.Image) -> bool:
    """Whether the file holds more than one frame."""
    if image.format != "TIFF":
        return getattr(image, "n_frames", 1) > 1
    try:
        image.seek(1)  # to count the frames of a TIFF takes time that grows with their square
    except EOFError:
        return False
    return True


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the entry is damaged."""
    if image.format == "PNG" and not {"exif", EXIF_AS_TEXT} & set(image.info):
        return 1  # or PIL decodes all of it, in search of an entry after the pixels
    with contextlib.suppress(struct.error, SyntaxError, ValueError, KeyError, TypeError):
        found = image.getexif().get(ORIENTATION, 1)
        if found in range(1, 9):
            return int(found)
    return 1


def require_upright(name: str, turn: int) -> None:
    """Raise if the EXIF orientation ``turn`` of an image is not 1.

    Raises:
        DataError: it is not.
    """
    if turn != 1:
        message = f"{name} is stored turned: its EXIF orientation is {turn}"
        hint = (
            "store it upright (PIL.ImageOps.exif_transpose), or without the tag if the model "
            "was trained on pixels as they are stored"
        )
        raise DataError(message, hint=hint)


def require_8_bits(name: str, image: Image.Image) -> None:
    """Raise unless the pixels of ``image`` have 8 bits of grey or colour.

    Raises:
        DataError: they have not.
    """
    tiles = getattr(image, "tile", [])  # only images from a file have it
    stored = str(tiles[0][3]) if tiles else ""  # such as RGB;16B
    kind = image.mode if image.mode not in (*GREY, *COLOUR) else ""
    if not kind and ";16" in stored:
        kind = f"{image.mode} of 16 bits"
    if kind:
        message = f"{name} has pixels of type {kind}, not 8 bits of grey or colour"
        raise DataError(message, hint="store it as 8-bit grey or RGB")


def require_alike(
    name: str, image: Image.Image, shape: tuple[int, int, int], *, any_size: bool = False
) -> None:
    """Raise unless ``image`` has 8 bits, the size of ``shape``, and no colour if that has none.

    Args:
        name: of the image, for messages.
        image: opened, its pixels not yet read.
        shape: (c, h, w) of the first image of the set.
        any_size: accept other sizes, and images that an EXIF tag turns.

    Raises:
        DataError: it has not.
    """
    require_8_bits(name, image)
    channels, height, width = shape
    if not any_size:
        require_upright(name, orientation(image))
        if image.size != (width, height):
            message = (
                f"{name} is {image.width}x{image.height} pixels, the first is {width}x{height}"
            )
            raise DataError(message, hint="bring the images to the size that the model takes")
    if channels == 1 and image.mode not in GREY:
        message = f"{name} is a colour image, and the first is grey"
        raise DataError(message, hint="store all of them as grey, or all as RGB")


def centre_crop(image: Image.Image, resize: int, size: tuple[int, int]) -> Image.Image:
    """Centre of ``image`` after its shorter side is resized to ``resize``, as torchvision does.

    Args:
        image: decoded.
        resize: length of the shorter side.
        size: height and width of the centre.
    """
    wide, high = (side * resize // min(image.size) for side in image.size)
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    height, width = size
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return image.crop((left, top, left + width, top + height))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image in ``path``, its pixels not yet read.

    Raises:
        DataError: it is broken, or it has too many pixels.
    """
    if path.exists():  # a link to nowhere is a broken image
        require_file(path)
    with _opened(path, str(path)) as image:
        yield image


@contextlib.contextmanager
def opened_bytes(content: bytes, name: str) -> Iterator[Image.Image]:
    """The image whose file has this ``content``, its pixels not yet read; ``name`` for messages.

    Raises:
        DataError: it is broken, or it has too many pixels.
    """
    with _opened(io.BytesIO(content), name) as image:
        yield image


@contextlib.contextmanager
def _opened(source: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                require_pixel_count(name, image.size)
                yield image
    except DAMAGE as error:
        message = f"cannot read the image {name}: it is damaged, or of another format"
        hint = "store it as PNG; JPEG, BMP, GIF, TIFF, WebP, PPM and PGM are read too"
        raise DataError(message, hint=hint) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"the image {name} has too many pixels"
        hint = "store the images in the size that the model takes"
        raise DataError(message, hint=hint) from error


def decoded(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """Pixels ``(c, h, w)`` of an image that was opened: of 1 channel grey, of 3 RGB."""
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.uint8)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels)
