"""Sets whose image files are only listed: each file is checked when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from robcert.certify.data import load_images
from robcert.certify.data.image_set import FileSource
from robcert.certify.data.packed_text import PackedText
from robcert.certify.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (300, 4, 5, 3), np.uint8)


def write(folder: Path, images: NDArray[np.uint8] = COLOUR) -> Path:
    for number, image in enumerate(images):
        place = folder / f"c{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03}.png")
    return folder


def test_the_pixels_and_labels_are_those_of_a_set_that_was_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    whole, listed = load_images(folder), load_images(folder, unread=True)
    rows = np.array([7, 0, 299])
    assert (listed.pixels(rows) == whole.pixels(rows)).all()
    assert whole.labels is not None
    assert listed.labels is not None
    assert (listed.labels == whole.labels).all()
    assert listed.classes == whole.classes


def test_the_hash_is_of_names_and_labels(tmp_path: Path) -> None:
    one = load_images(write(tmp_path / "one"), unread=True)
    negative = load_images(write(tmp_path / "two", 255 - COLOUR), unread=True)
    fewer = load_images(write(tmp_path / "three", COLOUR[:299]), unread=True)
    assert one.sha256 == negative.sha256 != fewer.sha256
    assert one.sha256 != load_images(tmp_path / "one").sha256
    (tmp_path / "two" / "c0" / "298.png").rename(tmp_path / "two" / "c1" / "298.png")
    assert one.sha256 != load_images(tmp_path / "two", unread=True).sha256


EXIF = Image.Exif()
EXIF[0x0112] = 6

BAD: dict[str, tuple[Any, dict[str, Any], int | None]] = {
    "is damaged": (COLOUR[0], {"format": "PPM"}, 60),
    "EXIF orientation is 6": (COLOUR[0], {"exif": EXIF}, None),
    "is 5x3 pixels, the first is 5x4": (COLOUR[0, :3], {}, None),
    "pixels of type I;16": (np.zeros((4, 5), np.uint16), {}, None),
}


@pytest.mark.parametrize("problem", BAD)
def test_a_bad_file_is_named_when_it_is_read(problem: str, tmp_path: Path) -> None:
    pixels, how, kept = BAD[problem]
    folder = write(tmp_path / "set")
    path = folder / "c1" / "003.png"  # not among the files that are opened at once
    Image.fromarray(pixels).save(path, **how)
    path.write_bytes(path.read_bytes()[:kept])
    listed = load_images(folder, unread=True)
    assert isinstance(listed.source, FileSource)
    row = [listed.source.name(n) for n in range(len(listed))].index("c1/003.png")
    listed.pixels(np.array([row - 1]))
    with pytest.raises(DataError, match=rf"003.png.*{problem}"):
        listed.pixels(np.array([row]))


def test_a_colour_image_among_grey_ones_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", COLOUR[..., 0])
    Image.fromarray(COLOUR[0]).save(folder / "c1" / "003.png")
    listed = load_images(folder, unread=True)
    assert listed.shape[0] == 1
    with pytest.raises(DataError, match=r"003\.png is a colour image, and the first is grey"):
        listed.pixels(np.arange(len(listed)))


def test_packed_texts_are_those_that_were_packed() -> None:
    texts = ["a", "", "änder/\udce9.png", "b" * 300]
    packed = PackedText(texts)
    assert list(packed) == texts
    assert packed[-1] == texts[-1]
    assert list(packed[1:3]) == texts[1:3]
    with pytest.raises(IndexError):
        packed[4]
