"""Small sets of images with traps: each is read right, or refused in a line that says what to do.

A trap writes files into an empty folder and returns what is given as ``--data``.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from PIL import Image

from robcert.certify.data.load import load_images
from robcert.certify.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.data.image_set import ImageSet

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (10, 6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (10, 6, 5, 3), np.uint8)
PAIR = GREY[:2]
LABELS = np.arange(10) % 5

Trap = Callable[[Path], Path]


def png(path: Path, pixels: NDArray[np.uint8] = GREY[0], **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def put(folder: Path, *places: str) -> Path:
    """Images GREY[0], GREY[1], … at the ``places`` below ``folder``."""
    for number, place in enumerate(places):
        png(folder / place, GREY[number])
    return folder


# Folders that are read.


def beside_hidden_folders(folder: Path) -> Path:
    for place in (".thumbs/a/0.png", "__MACOSX/a/0.png", "@eaDir/0.png", "lost+found/0.png"):
        png(folder / place)
    for place in ("a/.ipynb_checkpoints/0.png", "a/@eaDir/0.png", "b/._0.png"):
        png(folder / place)
    return put(folder, "a/0.png", "b/0.png")


def other_files(folder: Path) -> Path:
    put(folder, "a/0.png", "b/0.png")
    for place in ("a/Thumbs.db", "b/notes.txt", "README"):
        (folder / place).write_text("x")
    return folder


def a_class_called_train(folder: Path) -> Path:
    return put(folder, "bus/0.png", "train/0.png")


def nested_class_folders(folder: Path) -> Path:
    return put(folder, "a/0.png", "b/day1/0.png")


def linked_class_folders(folder: Path) -> Path:
    put(folder / "store", "x/0.png", "y/0.png")
    (folder / "set").mkdir()
    (folder / "set" / "a").symlink_to(folder / "store" / "x")
    (folder / "set" / "b").symlink_to(folder / "store" / "y")
    return folder / "set"


def upper_case_suffixes(folder: Path) -> Path:
    put(folder, "a/0.png", "b/0.png")
    (folder / "a" / "0.png").rename(folder / "a" / "0.PNG")
    return folder


def numbered_with_zeros(folder: Path) -> Path:
    return put(folder, "00/0.png", "01/0.png")


def an_empty_folder_at_the_end(folder: Path) -> Path:
    (folder / "z").mkdir()
    return put(folder, "a/0.png", "b/0.png")


def an_empty_numbered_folder(folder: Path) -> Path:
    (folder / "0").mkdir()
    return put(folder, "1/0.png", "2/0.png")


def a_table_with_a_byte_order_mark(folder: Path) -> Path:
    put(folder, "0.png", "1.png")
    (folder / "labels.csv").write_text("\ufeff0.png,3\r\n1.png,1\r\ngone.png,2\r\n", "utf-8")
    return folder


def a_table_beside_classes(folder: Path) -> Path:
    (folder / "labels.csv").write_text("0.png,3\n")
    return put(folder, "a/0.png", "b/0.png")


def a_table_in_upper_case(folder: Path) -> Path:
    (folder / "LABELS.CSV").write_text("0.png,3\n1.png,4\n")
    return put(folder, "0.png", "1.png")


def a_pipe(folder: Path) -> Path:
    put(folder, "a/0.png", "b/0.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "a" / "1.png")
    return folder


def a_table_of_decimals(folder: Path) -> Path:
    put(folder, "0.png", "1.png")
    (folder / "labels.csv").write_text("file,label\n0.png,10.0\n1.png,9.0\n")
    return folder


def an_animation(folder: Path) -> Path:
    frames = [Image.fromarray(image) for image in GREY[:3]]
    frames[0].save(folder / "0.gif", save_all=True, append_images=frames[1:])
    return folder


# Folders that are refused.


def of_splits(*names: str) -> Trap:
    def trap(folder: Path) -> Path:
        return put(folder, *(f"{name}/{a}/0.png" for name in names for a in "ab"))

    return trap


def splits_beside_another_folder(folder: Path) -> Path:
    return put(folder, "Training/a/0.png", "Testing/a/0.png", "extra/a/0.png")


def splits_below_classes(folder: Path) -> Path:
    return put(folder, "a/train/0.png", "a/test/0.png", "b/train/0.png", "b/test/0.png")


def uneven_splits_below_classes(folder: Path) -> Path:
    return put(folder, "a/Train/0.png", "b/Eval/0.png")


def a_set_in_the_only_folder(folder: Path) -> Path:
    return put(folder, "archive/a/0.png", "archive/b/0.png")


def styles_of_the_same_classes(folder: Path) -> Path:
    return put(folder, "art/cat/0.png", "art/dog/0.png", "photo/cat/0.png", "photo/dog/0.png")


def severities(folder: Path) -> Path:
    return put(folder, *(f"{level}/{a}/0.png" for level in range(1, 5) for a in ("n01", "n02")))


def an_empty_folder_among_the_classes(folder: Path) -> Path:
    (folder / "b").mkdir()
    return put(folder, "a/0.png", "c/0.png")


def two_names_of_one_number(folder: Path) -> Path:
    return put(folder, "1/0.png", "01/0.png")


def a_number_beyond_all_classes(folder: Path) -> Path:
    return put(folder, "0/0.png", f"{2**70}/0.png")


def images_beside_folders(folder: Path) -> Path:
    return put(folder, "sample.png", "a/0.png")


def a_link_to_no_image(folder: Path) -> Path:
    put(folder, "a/0.png", "b/0.png")
    (folder / "a" / "1.png").symlink_to(folder / "gone.png")
    return folder


def only_other_pictures(folder: Path) -> Path:
    (folder / "0.heic").write_bytes(b"x")
    return folder


def several_sizes(folder: Path) -> Path:
    png(folder / "b" / "0.png", GREY[0, :4])
    return put(folder, "a/0.png")


def two_labels_for_a_file(folder: Path) -> Path:
    put(folder, "0.png")
    (folder / "labels.csv").write_text("0.png,1\n0.png,2\n")
    return folder


def table(label: str) -> Trap:
    def trap(folder: Path) -> Path:
        put(folder, "0.png", "1.png")
        (folder / "labels.csv").write_text(f"0.png,{label}\n1.png,0\n")
        return folder

    return trap


def semicolons(folder: Path) -> Path:
    put(folder, "0.png")
    (folder / "labels.csv").write_text("0.png;1\n")
    return folder


def turned(folder: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(folder / "0.jpg", COLOUR[0], exif=exif).parent


def grey_of_16_bits(folder: Path) -> Path:
    return png(folder / "0.png", GREY[0].astype(np.uint16) * 257).parent


def colour_of_16_bits(folder: Path) -> Path:
    """A PNG as other programs write it; PIL cannot."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    wide = (COLOUR[0].astype(">u2") * 257).reshape(6, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in wide.astype(">u2"))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0))
    content = head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (folder / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return folder


def floats_in_a_tiff(folder: Path) -> Path:
    Image.fromarray(GREY[0].astype(np.float32)).save(folder / "0.tif")
    return folder


def of_mode(mode: str) -> Trap:
    """A grey image and the same in another mode, which does not change a pixel."""

    def trap(folder: Path) -> Path:
        png(folder / "0.png", GREY[0])
        Image.fromarray(GREY[1]).convert(mode).save(folder / "1.png")
        return folder

    return trap


# Files of arrays that are read.


def npz(**arrays: Any) -> Trap:
    def trap(folder: Path) -> Path:
        np.savez(folder / "set.npz", **arrays)
        return folder / "set.npz"

    return trap


def npy(**arrays: NDArray[Any]) -> Trap:
    """Files ``name.npy``; the first is given."""

    def trap(folder: Path) -> Path:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return folder / f"{next(iter(arrays))}.npy"

    return trap


def whole_folder(inner: Trap) -> Trap:
    return lambda folder: inner(folder).parent


def patch_camelyon(folder: Path) -> Path:
    for what, array in (("x", COLOUR), ("y", LABELS.reshape(10, 1, 1, 1).astype(np.uint8))):
        with h5py.File(folder / f"camelyonpatch_level_2_split_test_{what}.h5", "w") as file:
            file.create_dataset(what, data=array)
    return folder / "camelyonpatch_level_2_split_test_x.h5"


def labels_of_patch_camelyon(folder: Path) -> Path:
    return Path(str(patch_camelyon(folder)).replace("_x.h5", "_y.h5"))


def a_link_to_nowhere(folder: Path) -> Path:
    with h5py.File(folder / "set.h5", "w") as file:
        file["images"], file["labels"] = GREY, LABELS
        file["lost"] = h5py.SoftLink("/nowhere")
    return folder / "set.h5"


# Files that are refused.


def named(name: str) -> Trap:
    def trap(folder: Path) -> Path:
        (folder / name).write_bytes(b"x")
        return folder / name

    return trap


def a_packed_folder(folder: Path) -> Path:
    put(folder / "set", "a/0.png")
    return Path(shutil.make_archive(str(folder / "packed"), "zip", folder / "set"))


def a_packed_file(folder: Path) -> Path:
    path = folder / "set.h5.gz"
    path.write_bytes(gzip.compress(b"x"))
    return path


def uint64(number: int) -> NDArray[np.uint64]:
    return np.array([number, *LABELS[1:]], np.uint64)


READ: dict[str, tuple[Trap, NDArray[Any], list[int] | None, str]] = {
    "hidden folders": (
        beside_hidden_folders,
        PAIR,
        [0, 1],
        "folders that are ignored: 6 (.ip",
    ),
    "other files": (other_files, PAIR, [0, 1], "no images: 3 (no suffix, .db, .txt)"),
    "a class train": (a_class_called_train, PAIR, [0, 1], "2 classes"),
    "nested": (nested_class_folders, PAIR, [0, 1], "in sub-folders of a class folder belong"),
    "links": (linked_class_folders, PAIR, [0, 1], "2 classes"),
    "upper case": (upper_case_suffixes, PAIR, [0, 1], "2 classes"),
    "zeros": (numbered_with_zeros, PAIR, [0, 1], "2 classes"),
    "empty at the end": (an_empty_folder_at_the_end, PAIR, [0, 1], "without images: z"),
    "empty number": (an_empty_numbered_folder, PAIR, [1, 2], "without images: 0"),
    "one class": (lambda f: put(f, "a/0.png", "a/1.png"), PAIR, [0, 0], "one class by"),
    "byte order mark": (
        a_table_with_a_byte_order_mark,
        PAIR,
        [3, 1],
        "without an image here: 1,",
    ),
    "decimals": (a_table_of_decimals, PAIR, [10, 9], "labels from labels.csv"),
    "table and classes": (a_table_beside_classes, PAIR, [0, 1], "labels.csv is not read"),
    "table in capitals": (a_table_in_upper_case, PAIR, None, "no images: 1 (.csv)"),
    "pipe": (a_pipe, PAIR, [0, 1], "2 classes"),
    "names in a table": (table("ant"), PAIR, [1, 0], "0 = 0, ant = 1"),
    "animation": (
        an_animation,
        *(np.repeat(GREY[:1, ..., None], 3, 3), None),
        "of several frames, of which the first is read: 1",
    ),
    "mode 1": (lambda f: png(f / "0.png", GREY[0] > 127).parent, 255 * (GREY[:1] > 127), None, ""),
    "mode LA": (of_mode("LA"), np.repeat(PAIR[..., None], 3, 3), None, "without transparency"),
    "mode P": (of_mode("P"), np.repeat(PAIR[..., None], 3, 3), None, "['L', 'P'] are read as RGB"),
    "mode RGB": (of_mode("RGB"), np.repeat(PAIR[..., None], 3, 3), None, "['L', 'RGB'] are read"),
    "mode RGBA": (of_mode("RGBA"), np.repeat(PAIR[..., None], 3, 3), None, "as RGB"),
    "two splits": (
        npz(x_train=GREY[:3], y_train=LABELS[:3], x_test=GREY, y_test=LABELS),
        *(GREY, LABELS.tolist(), "images from 'x_test'"),
    ),
    "partners": (npz(x_test=GREY, y_test=LABELS, labels=LABELS[::-1]), GREY, LABELS.tolist(), ""),
    "positions": (npz(arr_0=GREY, arr_1=LABELS), GREY, LABELS.tolist(), "images from 'arr_0'"),
    "axes of labels": (npz(images=GREY, labels=LABELS[:, None, None, None]), GREY, [*LABELS], ""),
    "one-hot": (npz(images=GREY, labels=np.eye(5)[LABELS]), GREY, LABELS.tolist(), ""),
    "one-hot with axes": (
        npz(images=GREY, labels=np.eye(5)[LABELS][:, None, None]),
        *(GREY, LABELS.tolist(), ""),
    ),
    "truth values": (npz(images=GREY, labels=LABELS > 2), GREY, [*(LABELS > 2)], ""),
    "float labels": (npz(images=GREY, labels=LABELS.astype(np.float16)), GREY, [*LABELS], ""),
    "big end": (npz(images=GREY.astype(">i4"), labels=LABELS.astype(">i8")), GREY, [*LABELS], ""),
    "columns first": (npz(images=np.asfortranarray(GREY), labels=LABELS), GREY, [*LABELS], ""),
    "float16": (npz(images=np.eye(5, dtype=np.float16)[None]), 255 * np.eye(5)[None], None, ""),
    "corruption": (
        npy(fog=COLOUR, labels=LABELS),
        *(COLOUR, LABELS.tolist(), ""),
    ),
    "severities": (
        npy(fog=COLOUR, labels=np.tile([0, 1], 5)),
        *(COLOUR, [0, 1] * 5, "of five severities (1 = 0-1, 2 = 2-3, 3 = 4-5, 4 = 6-7, 5 = 8-9)"),
    ),
    "x and y": (npy(max_x=GREY, max_y=LABELS), GREY, LABELS.tolist(), "labels from max_y.npy"),
    "labels of others": (npy(a=GREY, labels=LABELS[:3]), GREY, None, "not used, since it has 3"),
    "folder of arrays": (whole_folder(npy(x_test=GREY, y_test=LABELS)), GREY, [*LABELS], ""),
    "patches": (patch_camelyon, COLOUR, LABELS.tolist(), "labels from camelyonpatch"),
    "dead link": (a_link_to_nowhere, GREY, LABELS.tolist(), ""),
}
"""Trap, pixels from 0 to 255, labels, and what a note says."""

REFUSED: dict[str, tuple[Trap, str, str]] = {
    "training": (
        of_splits("Training", "TESTING"),
        "the splits TESTING, Training",
        "/TESTING",
    ),
    "dev": (of_splits("dev", "eval", "train"), "holds the splits dev, eval, train", "give one of"),
    "sets": (
        of_splits("train_set", "val2017"),
        "the splits train_set, val2017",
        "/train_set",
    ),
    "one split": (of_splits("validation"), "holds the splits validation", "/validation"),
    "extra": (splits_beside_another_folder, "the splits Testing, Training, not", "/Testing"),
    "below": (
        splits_below_classes,
        r"hold splits \(test, train\), not one",
        "/test/a, and give one",
    ),
    "uneven": (uneven_splits_below_classes, r"hold splits \(Eval, Train\)", "/Eval/a"),
    "only folder": (a_set_in_the_only_folder, "the only sub-folder of .* a, b: it is", "/archive"),
    "styles": (styles_of_the_same_classes, "holds the sub-folders cat, dog", "/art, .*/photo"),
    "levels": (severities, "each sub-folder of .* n01, n02: it is a set", "/1, .*/2, .*/3, …"),
    "gap": (an_empty_folder_among_the_classes, "without images among its classes: b", "remove"),
    "same number": (two_names_of_one_number, "01 and 1 are the same number", "one folder"),
    "large number": (a_number_beyond_all_classes, "its number is too large", "after their classes"),
    "beside": (images_beside_folders, "images beside the sub-folders a", "sub-folder of its class"),
    "no image": (a_link_to_no_image, "cannot read the image .*/a/1.png", ""),
    "other pictures": (only_other_pictures, "holds no image files, only .heic", ".png"),
    "sizes": (several_sizes, r"0.png is 5x4 pixels, 0.png is 5x6", "bring the images to the size"),
    "two labels": (two_labels_for_a_file, "has two labels for 0.png: 1 and 2", "one row"),
    "label -1": (table("-1"), "minimum of -1", "leave out"),
    "label 1.5": (table("1.5"), "not whole numbers: image 0 has 1.5", "whole number"),
    "label 1e300": (table("1e300"), r"too large for classes: image 0 has 1e\+300", "unsigned"),
    "label 2**70": (table(str(2**70)), "too large for classes", "unsigned"),
    "no label": (table(""), "has no label for 0.png", "rows are file,label"),
    "semicolons": (semicolons, "has no label for 0.png", "rows are file,label"),
    "turned": (turned, "0.jpg is stored turned: its EXIF orientation is 6", "exif_transpose"),
    "16 bits": (grey_of_16_bits, "pixels of type I;16, not 8 bits", "8-bit grey or RGB"),
    "16 bits of colour": (colour_of_16_bits, "type RGB of 16 bits", "8-bit grey or RGB"),
    "floats": (floats_in_a_tiff, "pixels of type F, not 8 bits", "8-bit grey or RGB"),
    "uint64": (
        npz(images=GREY, labels=uint64(2**64 - 1)),
        "image 0 has 18446744073709551615",
        "uns",
    ),
    "huge": (npz(images=GREY, labels=LABELS + 1e300), "too large for classes", "unsigned"),
    "nan": (npz(images=GREY, labels=LABELS * np.nan), "image 0 has nan", "whole number"),
    "half": (npz(images=GREY, labels=LABELS + 0.5), "image 0 has 0.5", "whole number"),
    "negative": (npz(images=GREY, labels=LABELS - 1), r"minimum of -1 \(image 0\)", "leave out"),
    "text": (npz(images=GREY, labels=LABELS.astype(str)), "not numbers", "counted from 0"),
    "two labels each": (npz(images=GREY, labels=np.ones((10, 3))), r"shape \(10, 3\)", "whole"),
    "a row": (npz(images=GREY, labels=LABELS[None]), r"have the shape \(1, 10\)", "whole number"),
    "count": (npz(images=GREY, labels=LABELS[:4]), "10 images but 4 labels", ""),
    "twice": (npz(images=GREY / 255 / 255), "numbers up to 0.0039 only", "255 twice"),
    "normalised": (npz(images=GREY / 127.5 - 1), "outside .0, 1.", "look normalised"),
    "grey levels": (npz(images=GREY.astype(float)), "outside .0, 1.", "divide by 255"),
    "zeros and ones": (npz(images=GREY % 2), "integers up to 1, but white is 255", "0 to 255"),
    "a number": (npz(images=np.array(3)), r"have the shape \(\)", "store them as"),
    "channels in the middle": (npz(images=np.zeros((9, 8, 7, 6, 5))), "have the shape", "store"),
    "partner count": (npy(images=GREY, labels=LABELS[:3]), "10 images but 3 labels", ""),
    "corruptions": (
        whole_folder(npy(fog=COLOUR, snow=COLOUR, labels=LABELS)),
        "holds several files of images: fog.npy, snow.npy",
        "/fog.npy",
    ),
    "labels alone": (labels_of_patch_camelyon, "no array called images, only y", "of the images"),
    "archive": (a_packed_folder, "packed.zip is not a file of images", "unpack it"),
    "packed file": (a_packed_file, "set.h5.gz is not a file of images", "unpack it"),
    "one image": (lambda f: png(f / "0.png"), "0.png is not a file of images", "into a folder"),
    "pickle": (named("data_batch.pkl"), "is not a file of images", ".npz, .npy"),
}
"""Trap, what the message says, and what the hint says to do."""


def pixels_of(found: ImageSet) -> NDArray[np.uint8]:
    """All pixels from 0 to 255, grey without an axis of channels."""
    values = found.pixels(np.arange(len(found))).mul(255).round().byte().numpy()
    return values[:, 0] if values.shape[1] == 1 else values.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("name", READ)
def test_the_set_is_read_right(name: str, tmp_path: Path) -> None:
    trap, pixels, labels, note = READ[name]
    found = load_images(trap(tmp_path))
    np.testing.assert_array_equal(pixels_of(found), pixels)
    assert (None if found.labels is None else found.labels.tolist()) == labels
    assert note in "; ".join(found.notes)
    assert found.doubts == ()


@pytest.mark.parametrize("name", REFUSED)
def test_the_set_is_refused_in_a_line_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    trap, said, hint = REFUSED[name]
    given = trap(tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        load_images(given)
    assert "\n" not in str(caught.value) + caught.value.hint
    assert not hint or re.search(hint, caught.value.hint), caught.value.hint


@pytest.mark.parametrize("scale", [1, 255])
def test_white_that_is_another_number_is_a_doubt(scale: int, tmp_path: Path) -> None:
    """Digits from 0 to 16, as scikit-learn has them."""
    digits = GREY // 16
    np.savez(tmp_path / "set.npz", images=digits if scale == 1 else digits / 255)
    (doubt,) = load_images(tmp_path / "set.npz").doubts
    assert doubt.startswith("the brightest pixel of all images is 0.059 where white is 1")
    png(tmp_path / "dark" / "0.png", digits[0])
    assert load_images(tmp_path / "dark").doubts


def test_photographs_of_imagenet_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph = RNG.integers(0, 256, (260, 300, 3), np.uint8)
    png(tmp_path / "val" / "n01" / "0.png", photograph, exif=exif)
    found = load_images("imagenet", root=tmp_path)
    assert "images whose EXIF orientation is not applied, as in torchvision: 1" in found.notes
