"""Sets in tar archives, in Parquet files and at addresses are those of a folder, read in parts."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from robcert.certify.addresses import without_secrets
from robcert.certify.data import load_images, parquet_file
from robcert.certify.data.remote import matching
from robcert.certify.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 6, 5, 3), np.uint8)
GREY = RNG.integers(0, 256, (12, 6, 5), np.uint8)
LABELS = np.arange(12) % 4
NAMES = ["ant", "bee", "cat", "dog"]


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    head = tarfile.TarInfo(name)
    head.size = len(content)
    archive.addfile(head, io.BytesIO(content))


def write_tar(file: Any, images: NDArray[np.uint8], labels: Sequence[int] | None = None) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        for row, image in enumerate(images):
            member(archive, f"set/{row:04}.png", encoded(image))
            member(archive, f"set/{row:04}.json", b"{}")
            if labels is not None:
                member(archive, f"set/{row:04}.cls", str(labels[row]).encode())


def write_parquet(
    path: Any, images: NDArray[np.uint8], labels: Sequence[int], *, names: list[str] | None = None
) -> None:
    cells = [{"bytes": encoded(image), "path": None} for image in images]
    table = pa.table({"image": cells, "label": list(labels)})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        described = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": described})
    parquet.write_table(table, path, row_group_size=5)


def in_folder(folder: Path, images: NDArray[np.uint8]) -> Any:
    """The same images as a folder of classes, and their order in it."""
    for row, image in enumerate(images):
        place = folder / str(LABELS[row])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{row:03}.png")
    return load_images(folder), np.argsort(LABELS, kind="stable")


@pytest.mark.parametrize("images", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_the_images_and_their_hash_are_those_of_a_folder(
    tmp_path: Path, kind: str, images: NDArray[np.uint8]
) -> None:
    folder, order = in_folder(tmp_path / "folder", images)
    path = tmp_path / f"test.{kind}"
    if kind == "tar":
        with path.open("wb") as file:
            write_tar(file, images[order], LABELS[order].tolist())
    else:
        write_parquet(path, images[order], LABELS[order].tolist())
    found = load_images(path)
    assert found.sha256 == folder.sha256
    assert found.shape == folder.shape
    wanted = np.array([7, 0, 7, 11])
    assert found.pixels(wanted).equal(folder.pixels(wanted))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_several_files_are_one_set_in_the_order_of_their_names(tmp_path: Path, kind: str) -> None:
    for number, rows in enumerate((slice(0, 5), slice(5, 6), slice(6, 12))):
        path = tmp_path / f"val-{number:02}.{kind}"
        if kind == "tar":
            with path.open("wb") as file:
                write_tar(file, COLOUR[rows], LABELS[rows].tolist())
        else:
            write_parquet(path, COLOUR[rows], LABELS[rows].tolist(), names=NAMES)
    every = load_images(tmp_path)
    assert every.labels is not None
    assert every.labels.tolist() == LABELS.tolist()
    expected = COLOUR.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    assert np.array_equal(every.pixels(np.arange(12)).numpy(), expected)
    counted = load_images(f"{tmp_path}/val-{{00..02}}.{kind}")
    starred = load_images(f"{tmp_path}/val-*.{kind}")
    assert every.sha256 == counted.sha256 == starred.sha256
    assert (every.name, counted.name) == (tmp_path.name, "val")
    assert every.classes == (tuple(NAMES) if kind == "parquet" else ())


@pytest.mark.parametrize("kind", ["tar", "parquet", "npz"])
def test_addresses_are_read_like_files(tmp_path: Path, kind: str) -> None:
    with fsspec.open(f"memory://set/val.{kind}", "wb") as file:
        if kind == "tar":
            write_tar(file, GREY, LABELS.tolist())
        elif kind == "parquet":
            write_parquet(file, GREY, LABELS.tolist())
        else:
            np.savez(file, images=GREY, labels=LABELS)
    found = load_images(f"memory://set/val.{kind}")
    path = tmp_path / f"val.{kind}"
    fsspec.filesystem("memory").get(f"/set/val.{kind}", str(path))
    assert found.sha256 == load_images(path).sha256 == load_images(path.as_uri()).sha256
    assert found.name == "val"
    assert np.array_equal(found.pixels(np.array([3])).numpy()[0, 0], GREY[3] / np.float32(255))


def test_one_group_of_rows_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "val.parquet", COLOUR, LABELS.tolist())
    found = load_images(tmp_path / "val.parquet")
    read: list[int] = []
    before = parquet_file.ParquetImages._read

    def counted(file: parquet_file.ParquetImages, group: int) -> Any:
        read.append(group)
        return before(file, group)

    monkeypatch.setattr(parquet_file.ParquetImages, "_read", counted)
    found.pixels(np.arange(12))
    assert read == [0, 1, 2]
    found.pixels(np.array([10, 11]))
    assert read == [0, 1, 2]


def test_a_set_without_labels_has_none(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file:
        write_tar(file, COLOUR)
    assert load_images(tmp_path / "a.tar").labels is None


def test_grey_images_among_colour_ones_are_read_as_colour(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member(archive, "0.png", encoded(COLOUR[0]))
        member(archive, "1.png", encoded(GREY[1]))
    pixels = load_images(tmp_path / "a.tar").pixels(np.array([1])).numpy()[0]
    assert np.array_equal(pixels, np.stack([GREY[1]] * 3) / np.float32(255))


def tar_of(path: Path, *members: tuple[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            member(archive, name, content)


ONE, OTHER = encoded(COLOUR[0]), encoded(COLOUR[1])
WRONG: dict[str, tuple[tuple[tuple[str, bytes], ...], str]] = {
    "nothing": ((), "holds no images"),
    "no images": ((("a.txt", b"text"),), "holds no images"),
    "two images": ((("a.png", ONE), ("a.jpg", OTHER)), "another image of that name"),
    "some classes": ((("a.png", ONE), ("a.cls", b"1"), ("b.png", OTHER)), "without .cls"),
    "a class in words": ((("a.png", ONE), ("a.cls", b"cat")), "a.cls is not a whole number"),
    "a huge class": ((("a.png", ONE), ("a.cls", b"9" * 31)), "a.cls is not a whole number"),
    "a negative class": ((("a.png", ONE), ("a.cls", b"-1")), "classes count from 0"),
    "damage": ((("a.png", ONE), ("b.png", ONE[:40])), "b.png: it is damaged"),
    "another size": ((("a.png", ONE), ("b.png", encoded(COLOUR[0][:3]))), "the first is 5x6"),
    "colour": ((("a.png", encoded(GREY[0])), ("b.png", ONE)), "the first is grey"),
    "16 bits": ((("a.png", encoded(GREY[0].astype(np.uint16))),), "not 8 bits"),
    "no image": ((("a.png", b"%!PS-Adobe"),), "another format"),
    "a name that is none": ((("a\x1b[2J.png", ONE), ("b.png", ONE[:40])), "b.png"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_an_archive_is_one_line(tmp_path: Path, name: str) -> None:
    members, message = WRONG[name]
    tar_of(tmp_path / "a.tar", *members)
    with pytest.raises(DataError, match=message) as raised:
        load_images(tmp_path / "a.tar")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 511])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    for suffix in ("tar", "parquet"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError, match="a\\."):
            load_images(path)


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    tar_of(tmp_path / "a.tar", ("a.png", ONE), mode="w:gz")
    with pytest.raises(DataError, match="compressed or damaged"):
        load_images(tmp_path / "a.tar")


def test_links_out_of_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member(archive, "a.png", ONE)
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(load_images(tmp_path / "a.tar")) == 1


def test_a_header_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    head = tarfile.TarInfo("long")
    head.type, head.size = tarfile.XHDTYPE, 2**32
    path = tmp_path / "a.tar"
    path.write_bytes(head.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 10_240)
    with pytest.raises(DataError, match="no tar archive, or compressed or damaged"):
        load_images(path)


def test_parts_of_a_data_set_are_not_mixed(tmp_path: Path) -> None:
    for name in ("train-0", "test-0"):
        write_parquet(tmp_path / f"{name}.parquet", COLOUR, LABELS.tolist())
    with pytest.raises(DataError, match="several parts of a data set: test, train"):
        load_images(tmp_path)
    assert len(load_images(f"{tmp_path}/test-*.parquet")) == 12


def test_columns_of_a_parquet_file_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataError, match="no column called image"):
        load_images(path)
    parquet.write_table(pa.table({"image": [{"bytes": None, "path": "a.png"}]}), path)
    with pytest.raises(DataError, match="image 0 is not stored in the file"):
        load_images(path)
    parquet.write_table(pa.table({"image": [{"bytes": ONE}] * 2, "label": [1, None]}), path)
    with pytest.raises(DataError, match="1 labels are missing"):
        load_images(path)
    parquet.write_table(pa.table({"image": [{"bytes": ONE}], "label": [-1]}), path)
    with pytest.raises(DataError, match="classes count from 0"):
        load_images(path)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://none/val.tar", "there is no such file"),
        ("memory://none/val-*.tar", "there is no file"),
        ("memory://none/val.npz", "there is no such file"),
        ("memory://none/val.zip", "not a file of images"),
        ("nothing://none/val.tar", "Protocol not known: nothing"),
        ("memory://val-{5..1}.tar", "counts from 5 to 1"),
        ("memory://val-{0..999999999}.tar", "counts from 0 to 999999999"),
    ],
)
def test_addresses_that_cannot_be_read_are_one_line(address: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        load_images(address)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("more", "message"), [(b"more", "does not send parts"), (None, "shorter than when")]
)
def test_a_part_that_is_not_one_is_refused(
    more: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fsspec.open("memory://set/part.tar", "wb") as file:
        write_tar(file, GREY)
    memory = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(memory, "cat_file", lambda *_, **__: ONE * 9 + more if more else b"")
    with pytest.raises(DataError, match=message):
        load_images("memory://set/part.tar")


def test_numbers_in_braces_keep_their_zeros() -> None:
    assert matching("memory://a-{08..10}.tar") == [
        "memory://a-08.tar",
        "memory://a-09.tar",
        "memory://a-10.tar",
    ]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("s3://bucket/a.tar", "s3://bucket/a.tar"),
        ("https://host/a.tar?X-Sig=ab%3D&t=1", "https://host/a.tar?…"),
        ("https://me:key@host/a.tar", "https://…@host/a.tar"),
        (
            "robcert audit -d 'https://h/a.npz?k=v' --limit 5",
            "robcert audit -d 'https://h/a.npz?…' --limit 5",
        ),
        ("what?no=address", "what?no=address"),
    ],
)
def test_secrets_of_addresses_are_left_out(typed: str, shown: str) -> None:
    assert without_secrets(typed) == shown
