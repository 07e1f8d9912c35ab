"""Image sets: every way to give images reads the same pixels, and bad ones are named."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from robcert.certify.data.load import from_arrays, load_images, select
from robcert.certify.errors import DataError, InvalidParameterError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 6, 5, 3), np.uint8)  # n, h, w, c
GREY = RNG.integers(0, 256, (12, 6, 5), np.uint8)
LABELS = np.arange(12) % 4


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_classes(folder: Path, images: NDArray[np.uint8], names: list[str]) -> None:
    for position, image in enumerate(images):
        place = folder / names[position % len(names)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{position:03}.png")


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5"])
@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int64"])
def test_every_array_file_reads_the_same_pixels(
    tmp_path: Path, suffix: str, channels_first: bool, dtype: str
) -> None:
    images: NDArray[Any] = COLOUR.transpose(0, 3, 1, 2) if channels_first else COLOUR
    images = images.astype(dtype) / np.float32(255) if "float" in dtype else images.astype(dtype)
    path = tmp_path / f"images.{suffix}"
    if suffix == "npz":
        np.savez_compressed(path, images=images, labels=LABELS)
    elif suffix == "npy":
        np.save(path, images)
        np.save(tmp_path / "labels.npy", LABELS)
    else:
        with h5py.File(path, "w") as file:
            file["x_test"], file["y_test"] = images, LABELS[:, None]
    data = load_images(path)
    assert (len(data), data.shape) == (12, (3, 6, 5))
    assert data.labels is not None
    assert data.labels.tolist() == LABELS.tolist()
    wanted = [7, 0, 7, 11]
    expected = torch.from_numpy(COLOUR[wanted]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(data.pixels(np.array(wanted)), expected, rtol=0, atol=1e-7)


def test_uint8_pixels_are_those_of_torchvision_to_the_bit() -> None:
    data = from_arrays("a", np.arange(256, dtype=np.uint8).reshape(1, 16, 16))
    expected = torch.arange(256, dtype=torch.uint8).float().div(255)
    assert torch.equal(data.pixels(np.array([0])).flatten(), expected)


def test_the_hash_knows_content_and_not_format(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, labels=LABELS)
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", GREY)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", LABELS.astype(np.uint8))
    write_classes(tmp_path / "classes", GREY, ["a", "b", "c", "d"])
    archive, idx = load_images(tmp_path / "a.npz"), load_images(tmp_path)
    assert archive.sha256 == idx.sha256
    folder = load_images(tmp_path / "classes")
    order = np.argsort(LABELS, kind="stable")
    assert folder.sha256 == from_arrays("sorted", GREY[order], LABELS[order]).sha256
    changed = GREY.copy()
    changed[-1, -1, -1] ^= 1
    assert from_arrays("b", changed, LABELS).sha256 != archive.sha256
    assert from_arrays("b", GREY, LABELS[::-1]).sha256 != archive.sha256
    assert from_arrays("b", GREY).sha256 != archive.sha256


def test_numbered_sub_folders_keep_their_numbers(tmp_path: Path) -> None:
    write_classes(tmp_path, GREY, ["10", "9", "0"])
    data = load_images(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 4 + [9] * 4 + [10] * 4
    assert data.classes == ("0", "9", "10")


def test_a_flat_folder_has_the_labels_of_its_table_or_none(tmp_path: Path) -> None:
    write_classes(tmp_path, COLOUR, ["."])
    data = load_images(tmp_path)
    assert data.labels is None
    assert data.shape == (3, 6, 5)
    rows = [f"{i:03}.png,{'cat' if i % 2 else 'ant'}" for i in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    labelled = load_images(tmp_path)
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [0, 1] * 6


def test_one_hot_labels_and_single_images_are_understood() -> None:
    one_hot = from_arrays("a", GREY, np.eye(4)[LABELS])
    assert one_hot.labels is not None
    assert one_hot.labels.tolist() == LABELS.tolist()
    assert from_arrays("one", COLOUR[0]).shape == (3, 6, 5)
    flat = from_arrays("flat", RNG.integers(0, 256, (4, 49), np.uint8))
    assert flat.shape == (1, 7, 7)
    assert flat.notes


BAD_ARRAYS = {
    "nan": (np.where(GREY.max() == GREY, np.nan, GREY / 255), r"image \d+ of x .* not finite"),
    "normalised": (GREY / 127.5 - 1, r"outside \[0, 1\]: from -1 to 1"),
    "to 255": (GREY.astype(np.float32), r"outside \[0, 1\]: from 0 to 255"),
    "just above": (np.full((2, 4, 4), 1 + 2e-6), "outside"),
    "dark": (np.ones((2, 4, 4), np.uint8), "integers up to 1"),
    "large": (np.full((2, 4, 4), 256, np.int16), "integers from 256 to 256"),
    "shape": (np.zeros((2, 3, 4, 5, 6), np.uint8), r"have the shape \(2, 3, 4, 5, 6\)"),
    "empty": (np.zeros((0, 4, 4), np.uint8), "holds no images"),
    "text": (np.array([[["a"]]]), "type <U1"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_images_that_are_none_are_named(name: str) -> None:
    images, reason = BAD_ARRAYS[name]
    with pytest.raises(DataError, match=reason) as caught:
        from_arrays("x", images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (LABELS[:5], "12 images but 5 labels"),
        (LABELS - 1, "minimum of -1"),
        (LABELS + 0.5, "not whole numbers"),
        (LABELS * np.nan, "not whole numbers: image 0 has nan"),
        (np.where(LABELS == 2, np.uint64(2**64 - 1), LABELS.astype(np.uint64)), "image 2 has 1844"),
        (np.where(LABELS == 1, 1e300, LABELS), r"too large for classes: image 1 has 1e\+300"),
        (np.where(LABELS == 3, np.inf, LABELS), "image 3 has inf"),
        (LABELS + 2**31, "too large for classes"),
        (LABELS + 2j, "complex128, not numbers"),
        (LABELS.astype(str), "not numbers"),
        (np.zeros((12, 3)), r"have the shape \(12, 3\)"),
    ],
)
def test_labels_that_are_no_classes_are_named(labels: NDArray[Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        from_arrays("x", GREY, labels)


@pytest.mark.parametrize("shape", [(12,), (12, 1), (12, 1, 1), (12, 1, 1, 1)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "float16", "float64", ">i4"])
def test_labels_of_any_type_and_with_axes_of_length_one_are_read(
    shape: tuple[int, ...], dtype: str
) -> None:
    data = from_arrays("x", GREY, LABELS.astype(dtype).reshape(shape))
    assert data.labels is not None
    assert data.labels.tolist() == LABELS.tolist()
    assert data.sha256 == from_arrays("x", GREY, LABELS).sha256


def test_rounding_is_no_reason_to_refuse() -> None:
    data = from_arrays("x", np.linspace(-9e-7, 1 + 9e-7, 32).reshape(2, 4, 4))
    assert data.pixels(np.arange(2)).min() == 0
    assert data.pixels(np.arange(2)).max() == 1


def test_a_set_that_does_not_fit_the_model_says_both_shapes() -> None:
    data = from_arrays("x", GREY, LABELS + 1)
    with pytest.raises(DataError, match=r"1x6x5 \(grey\).*3x6x5 \(colour\)"):
        data.require_fit((3, 6, 5), 10)
    with pytest.raises(DataError, match=r"1x6x5 .*1x28x28"):
        data.require_fit((1, 28, 28), 10)
    with pytest.raises(DataError, match=r"label 4 of image 3 .* which has 4") as caught:
        data.require_fit((1, 6, 5), 4)
    assert "from 0" in caught.value.hint
    data.require_fit((1, 6, 5), 5)


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "noise.npz").write_bytes(RNG.bytes(4000))
    (tmp_path / "noise.npy").write_bytes(RNG.bytes(4000))
    (tmp_path / "noise.h5").write_bytes(RNG.bytes(4000))
    np.savez_compressed(tmp_path / "whole.npz", images=COLOUR)
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "keys.npz", cats=GREY, dogs=GREY)
    np.savez(tmp_path / "pickled.npz", images=np.array([{"a": 1}], dtype=object))
    (tmp_path / "notes.txt").write_text("hello")
    for name in ("empty.npz", "noise.npz", "noise.npy", "noise.h5", "cut.npz", "pickled.npz"):
        with pytest.raises(DataError, match=f"cannot read .*{name}") as caught:
            load_images(tmp_path / name)
        assert "\n" not in str(caught.value), name
    with pytest.raises(DataError, match="only cats, dogs"):
        load_images(tmp_path / "keys.npz")
    with pytest.raises(DataError, match=r"notes.txt is not a file of images"):
        load_images(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no file, folder or data set cifar11") as caught:
        load_images("cifar11")
    assert "cifar10" in caught.value.hint


def test_folders_that_are_no_image_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image files"):
        load_images(tmp_path)
    write_classes(tmp_path / "splits" / "train", GREY, ["a", "b"])
    write_classes(tmp_path / "splits" / "test", GREY, ["a", "b"])
    with pytest.raises(DataError, match="splits test, train"):
        load_images(tmp_path / "splits")
    write_classes(tmp_path / "sizes", GREY, ["."])
    Image.fromarray(GREY[0, :4]).save(tmp_path / "sizes" / "z.png")
    with pytest.raises(DataError, match=r"z.png is 5x4 pixels, 000.png is 5x6"):
        load_images(tmp_path / "sizes")
    write_classes(tmp_path / "broken", COLOUR, ["."])
    content = (tmp_path / "broken" / "003.png").read_bytes()
    (tmp_path / "broken" / "003.png").write_bytes(content[:60])
    with pytest.raises(DataError, match=r"cannot read the image .*003.png"):
        load_images(tmp_path / "broken")
    write_idx(tmp_path / "t10k-images-idx3-ubyte", GREY)
    with pytest.raises(DataError, match="lacks t10k"):
        load_images(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x0cshort")
    with pytest.raises(DataError, match="not a complete idx file"):
        load_images(tmp_path)


def test_a_standard_set_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cifar10 is not in") as caught:
        load_images("cifar10", root=tmp_path, fetch=False)
    assert "data root" in caught.value.hint
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", GREY)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", LABELS.astype(np.uint8))
    data = load_images("fashion-mnist", root=tmp_path, fetch=False)
    assert (data.name, len(data)) == ("fashion-mnist", 12)
    assert data.classes[-1] == "Ankle boot"


def test_imagenet_is_resized_as_its_models_expect(tmp_path: Path) -> None:
    photograph = RNG.integers(0, 256, (300, 400, 3), np.uint8)
    write_classes(tmp_path / "val", photograph[None], ["n01440764"])
    data = load_images("imagenet", root=tmp_path)
    assert data.shape == (3, 224, 224)
    from torchvision.transforms import v2

    reference = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(Image.fromarray(photograph))
    expected = torch.from_numpy(np.array(reference)).permute(2, 0, 1) / 255
    assert torch.equal(data.pixels(np.array([0]))[0], expected)


def test_selection() -> None:
    assert select(10).tolist() == list(range(10))
    assert select(10, limit=3, every=4).tolist() == [0, 4, 8]
    assert select(10, indices=(7, 2, 7)).tolist() == [7, 2]
    with pytest.raises(DataError, match="no image 10: the data set has 10"):
        select(10, indices=(0, 10))
    with pytest.raises(InvalidParameterError, match="limit must be at least 1"):
        select(10, limit=0)
    with pytest.raises(InvalidParameterError, match="cannot be combined"):
        select(10, limit=1, indices=(1,))


def test_a_selection_of_one_class_is_remarked() -> None:
    data = from_arrays("x", np.repeat(GREY, 2, axis=0), np.repeat([0, 1], 12))
    assert data.selection_notes(select(24, every=2)) == ()
    assert "class 0" in data.selection_notes(select(24, limit=12))[0]


def test_no_float_copy_of_the_set_is_made() -> None:
    images = np.random.default_rng(1).integers(0, 256, (20_000, 1, 28, 28), np.uint8)
    tracemalloc.start()
    data = from_arrays("x", images)
    data.pixels(np.arange(64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * images.nbytes / 2  # a float copy would take four times the bytes


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "SGI"])
def test_the_content_of_an_image_decides_its_format(tmp_path: Path, kind: str) -> None:
    # PostScript would be run by another program
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    picture.save(tmp_path / "0.png", format=kind)
    with pytest.raises(DataError, match=r"0.png: it is damaged, or of another format"):
        load_images(tmp_path)
    picture.save(tmp_path / "0.png", format="BMP")
    assert load_images(tmp_path).pixels(np.arange(1)).shape == (1, 3, 8, 8)
