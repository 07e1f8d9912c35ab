"""Small files that declare much, or unpack to much, are refused before anything is unpacked."""

from __future__ import annotations

import errno
import gzip
import io
import os
import struct
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from PIL import Image

from robcert.certify.data import limits
from robcert.certify.data.load import load_images
from robcert.certify.data.reading import readable
from robcert.certify.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

GREY = np.random.default_rng(0).integers(0, 256, (10, 6, 5), np.uint8)
LABELS = np.arange(10) % 5
ZEROS = b"\0" * 2**20


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """Beginning of a ``.npy`` file that declares ``shape``."""
    file = io.BytesIO()
    declared = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, declared)
    return file.getvalue()


def member(archive: zipfile.ZipFile, name: str, head: bytes, mebibytes: int = 0) -> None:
    """A member of ``head`` and zeros, which take a thousandth of their size."""
    with archive.open(name, "w", force_zip64=True) as file:
        file.write(head)
        for _ in range(mebibytes):
            file.write(ZEROS)


def plain(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(images: bytes, labels: bytes, *, more: dict[str, int] | None = None) -> Callable[..., Path]:
    def made(folder: Path) -> Path:
        path, extra = folder / "set.npz", more or {}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            member(archive, "images.npy", images, extra.get("images", 0))
            member(archive, "labels.npy", labels, extra.get("labels", 0))
        return path

    return made


def npy(content: bytes, labels: bytes | None = None) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        (folder / "set.npy").write_bytes(content)
        if labels is not None:
            (folder / "labels.npy").write_bytes(labels)
        return folder / "set.npy"

    return made


def hdf5(**how: Any) -> Callable[[Path], Path]:
    """Images as asked, with labels as asked; both hold nothing but a fill value."""

    def made(folder: Path) -> Path:
        with h5py.File(folder / "set.h5", "w") as file:
            images = {"shape": (10, 6, 5), "dtype": "u1", **how.get("images", {})}
            file.create_dataset("images", **images)
            file.create_dataset("labels", **{"data": LABELS, **how.get("labels", {})})
        return folder / "set.h5"

    return made


def idx(shape: tuple[int, ...], suffix: str = "") -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        head = bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)
        write = gzip.compress if suffix else bytes
        name = f"t10k-{{}}-ubyte{suffix}"
        (folder / name.format("images-idx3")).write_bytes(write(head + bytes(1000)))
        head = bytes((0, 0, 8, 1)) + struct.pack(">I", 10)
        (folder / name.format("labels-idx1")).write_bytes(write(head + bytes(10)))
        return folder

    return made


def png(width: int, height: int) -> Callable[[Path], Path]:
    """A PNG of one colour that states its size and holds a few rows."""

    def made(folder: Path) -> Path:
        def chunk(kind: bytes, content: bytes) -> bytes:
            check = zlib.crc32(kind + content)
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        body = chunk(b"IDAT", zlib.compress(bytes(width + 1))) + chunk(b"IEND", b"")
        (folder / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
        return folder

    return made


def tiff(folder: Path) -> Path:
    """A TIFF with the tags of an image of 2^32 - 1 pixels by 16."""
    tags = [(256, 4, 2**32 - 1), (257, 4, 16), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (278, 4, 16), (279, 4, 16)]
    content = b"II*\0" + struct.pack("<IH", 8, len(tags))
    content += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    (folder / "0.tif").write_bytes(content + bytes(4))
    return folder


def webp(folder: Path) -> Path:
    """An extended WebP header with a canvas of 16383 x 16383."""
    size = struct.pack("<I", 16382)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes((0x02, 0, 0, 0)) + size + size
    (folder / "0.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return folder


HUGE, MUCH, ABSURD = 10**12, "declares the shape", "shape"
BOMBS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "npz: images larger than their header": (
        npz(header((10, 6, 5)), plain(LABELS), more={"images": 100}),
        "images.npy unpacks to 104857728 bytes, and its header declares 428",
    ),
    "npz: labels larger than their header": (
        npz(plain(GREY), header((10,)), more={"labels": 100}),
        "labels.npy unpacks to",
    ),
    "npz: images smaller than their header": (npz(header((HUGE, 6, 5)), plain(LABELS)), "unpacks"),
    "npz: labels smaller than their header": (npz(plain(GREY), header((HUGE,))), "unpacks to"),
    "npz: negative lengths": (npz(header((-10, 6, 5)), plain(LABELS)), MUCH),
    "npz: labels of Python objects": (npz(plain(GREY), header((10,), "|O")), "Python objects"),
    "npy: more than is stored": (npy(header((HUGE, 28, 28))), f"{MUCH} .*28.*bytes are stored"),
    "npy: lengths beyond all numbers": (npy(header((10**30, 28, 28))), MUCH),
    "npy: lengths of elements without size": (npy(header((10**30,), "|V0")), MUCH),
    "npy: labels beside it": (npy(plain(GREY), header((HUGE,), "<f8")), MUCH),
    "hdf5: images that are not stored": (hdf5(images={"shape": (10**9, 28, 28)}), ABSURD),
    "hdf5: images in pieces that are not stored": (
        hdf5(images={"shape": (10**9, 28, 28), "chunks": (1, 28, 28)}),
        ABSURD,
    ),
    "hdf5: labels that are not stored": (
        hdf5(labels={"data": None, "shape": (10**10,), "dtype": "i8"}),
        ABSURD,
    ),
    "hdf5: one enormous chunk": (
        hdf5(images={"shape": (10, 2**14, 2**14), "chunks": (10, 2**14, 2**14)}),
        "chunks",
    ),
    "hdf5: labels of texts": (hdf5(labels={"data": ["a"] * 10}), "Python objects"),
    "hdf5: images without values": (
        hdf5(images={"data": h5py.Empty("u1"), "shape": None}),
        "has no array called images",
    ),
    "hdf5: labels that are one number": (hdf5(labels={"data": 3}), r"have the shape \(\)"),
    "idx": (idx((2**32 - 1, 2**16, 2**16)), MUCH),
    "idx, gzipped": (idx((2**32 - 1, 28, 28), ".gz"), MUCH),
    "png": (png(60_000, 60_000), "too many pixels"),
    "png of 70 million": (png(70_000, 1000), "70000x1000: more than 67108864 values"),
    "tiff": (tiff, "too many pixels"),
    "webp": (webp, "too many pixels|damaged"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_unpacks_to_much_is_refused_at_once(bomb: str, tmp_path: Path) -> None:
    make, said = BOMBS[bomb]
    given = make(tmp_path)
    tracemalloc.start()
    begin = time.monotonic()
    try:
        with pytest.raises(DataError, match=said) as caught:
            load_images(given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert peak < 50 * 2**20
    assert time.monotonic() - begin < 20


def test_each_kind_of_file_is_read_where_it_holds_what_it_declares(tmp_path: Path) -> None:
    made = npz(plain(GREY), plain(LABELS))(tmp_path)
    assert len(load_images(made)) == 10
    (tmp_path / "a").mkdir()
    assert len(load_images(npy(plain(GREY), plain(LABELS))(tmp_path / "a"))) == 10
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file.create_dataset("images", data=GREY, chunks=(1, 6, 5), compression="gzip")
        file.create_dataset("labels", data=LABELS)
    assert len(load_images(tmp_path / "set.h5")) == 10


def test_large_images_may_be_packed_tightly(tmp_path: Path) -> None:
    """Shapes on black; those of dSprites take a 115th of their size."""
    pixels = np.zeros((2000, 200, 200), np.uint8)
    pixels[:, 40:60, 40:60] = np.arange(2000).reshape(-1, 1, 1) % 256
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=pixels)
    assert path.stat().st_size < pixels.size / 100
    assert len(load_images(path)) == 2000


def test_a_member_larger_than_the_temporary_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = npz(plain(GREY), plain(LABELS))(tmp_path)
    usage = type("Usage", (), {"free": 299})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"unpacks to .* GiB free"):
        load_images(made)
    usage.free = 300  # type: ignore[attr-defined]
    assert len(load_images(made)) == 10


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_disk_that_fills_while_images_are_unpacked_is_named(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(reason, "")

    made = npz(plain(GREY), plain(LABELS))(tmp_path)
    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(DataError, match=r"npz cannot be unpacked into /.*: \w+") as caught:
        load_images(made)
    assert "TMPDIR" in caught.value.hint


def test_without_a_folder_for_temporary_files_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    made = npz(plain(GREY), plain(LABELS))(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(DataError, match="no folder for one can be written") as caught:
        load_images(made)
    assert "TMPDIR" in caught.value.hint


@pytest.mark.parametrize(
    ("gibibytes", "stored", "refused"),
    [(0.05, 100, False), (0.07, 100, True), (3, 2**22, False), (5, 2**22, True), (5, 2**27, False)],
)
def test_how_much_an_array_may_unpack_to(gibibytes: float, stored: int, refused: bool) -> None:
    shape = (int(gibibytes * 2**30),)
    head = limits.ArrayHead(Path("set.npz"), "images", shape, np.dtype("u1"), stored)
    if refused:
        with pytest.raises(DataError, match=f"{stored} bytes are stored"):
            head.require_plausible()
    else:
        head.require_plausible()


@pytest.mark.parametrize("damage", ["encrypted", "method 99", "lzma"])
def test_archives_that_cannot_be_unpacked_are_refused(damage: str, tmp_path: Path) -> None:
    made = npz(plain(GREY), plain(LABELS))(tmp_path)
    content = bytearray(made.read_bytes())
    for signature, flags, method in ((b"PK\3\4", 6, 8), (b"PK\1\2", 8, 10)):
        place = content.find(signature)
        while place >= 0:
            if damage == "encrypted":
                content[place + flags] |= 1
            else:
                content[place + method] = {"method 99": 99, "lzma": zipfile.ZIP_LZMA}[damage]
            place = content.find(signature, place + 4)
    made.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*set\.npz: "):
        load_images(made)


def test_a_tiff_of_very_many_frames_is_read_in_seconds(tmp_path: Path) -> None:
    """Counting them takes time that grows with the square of their number."""
    tags = [(256, 5), (257, 6), (258, 8), (259, 1), (262, 1), (273, 8), (278, 6), (279, 30)]
    length, frames = 2 + 12 * len(tags) + 4, 30_000
    content = b"II*\0" + struct.pack("<I", 8)
    for frame in range(frames):
        content_of = struct.pack("<H", len(tags))
        content_of += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        following = 8 + (frame + 1) * length if frame < frames - 1 else 0
        content += content_of + struct.pack("<I", following)
    (tmp_path / "0.tif").write_bytes(content)
    begin = time.monotonic()
    loaded = load_images(tmp_path)
    assert time.monotonic() - begin < 3
    assert any("several frames" in note for note in loaded.notes)
    assert loaded.shape == (1, 6, 5)


def test_a_tiff_of_one_frame_has_no_note(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "0.tif")
    assert not any("frames" in note for note in load_images(tmp_path).notes)


def test_a_damaged_piece_of_an_hdf5_array_is_refused_by_the_name_of_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", data=GREY, chunks=(5, 6, 5), compression="gzip")
        place = images.id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.h5: .*filter"):
        load_images(path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = npy(plain(GREY))(tmp_path)
    loaded = load_images(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="shorter than when it was opened"):
        loaded.pixels(np.arange(10))


def test_a_tiff_without_its_size_is_a_damaged_image(tmp_path: Path) -> None:
    """PIL raises a TypeError for it."""
    Image.fromarray(GREY[0]).save(tmp_path / "0.tif")
    content = (tmp_path / "0.tif").read_bytes()
    assert struct.pack("<HH", 256, 4) in content
    (tmp_path / "0.tif").write_bytes(content.replace(struct.pack("<HH", 256, 4), b"\0\xff\4\0"))
    with pytest.raises(DataError, match="it is damaged, or of another format"):
        load_images(tmp_path)


def linked(pipe: Path) -> None:
    (pipe.parent / "0.png").symlink_to(pipe)


def as_idx(pipe: Path) -> None:
    idx((10, 6, 5))(pipe.parent)
    (pipe.parent / "t10k-labels-idx1-ubyte").unlink()
    pipe.rename(pipe.parent / "t10k-labels-idx1-ubyte")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("place", [linked, as_idx])
def test_a_pipe_is_not_waited_for(place: Callable[[Path], None], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    place(tmp_path / "pipe")
    with pytest.raises(DataError, match="it is not a file"):
        load_images(tmp_path)


def test_an_enormous_table_of_labels_is_not_read(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "0.png")
    with (tmp_path / "labels.csv").open("wb") as file:
        file.truncate(2**27 + 1)  # a file with a hole takes no space
    with pytest.raises(DataError, match=r"labels\.csv has more than 128 MiB"):
        load_images(tmp_path)


@pytest.mark.parametrize("error", [OSError(), ValueError(), RuntimeError("a\nb"), OSError(5, "x")])
def test_errors_of_a_reader_become_one_line_even_without_a_text(error: Exception) -> None:
    with (
        pytest.raises(DataError, match=r"^cannot read set\.npz: ") as caught,
        readable(Path("set.npz")),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_an_image_file_may_be_larger_than_what_a_model_gets(tmp_path: Path) -> None:
    """As files of photographs are that are resized and cropped."""
    from robcert.certify.data.folder import from_folder

    (tmp_path / "a").mkdir()
    pixels = np.zeros((5000, 5000, 3), np.uint8)
    pixels[::2] = 200
    Image.fromarray(pixels).save(tmp_path / "a" / "0.png", compress_level=1)
    assert from_folder(tmp_path, resize=32, crop=28).shape == (3, 28, 28)
    with pytest.raises(DataError, match="more than 67108864 values"):
        load_images(tmp_path)
