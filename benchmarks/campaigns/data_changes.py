"""Files of images that are made wrong: headers, archives, values, structure and names."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING

import h5py
import numpy as np
from PIL import Image

from .base_images import COUNT, Write, images, labels, pictures, table

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

SHAPES = (
    *((), (0,), (6,), (6, 28), (6, 28, 28), (6, 28, 28, 1), (6, 1, 28, 28), (6, 784), (1, 6, 784)),
    *((-6, 28, 28), (2**31, 28, 28), (2**62, 28, 28), (10**30, 1, 1), (6, 2**20, 2**20), (6,) * 32),
    *((6, 0, 28), (7, 28, 28), (5, 28, 28), (1,) * 40, (2**63 - 1,), (6, 28, 28, 0)),
)
TYPES = (
    *("|u1", "<u2", ">u4", "<i8", "|b1", "<f2", "<f4", ">f8", "<f16", "<c8", "|S1", "<U1", "|V0"),
    *("|V7", "|O", "<M8[s]", "<m8", "|u9", "nonsense", "|S0", "<U1000000000", "(2,2)<f4"),
    [("a", "<f4"), ("b", "|u1")],
)
NAMES = (
    *("images", "x_test", "data", "../../outside", "/etc/passwd", "\x1b]0;title\x07", "a\rb", ""),
    *("\u202eserp", "x" * 5000, "images.npy", ".", "..", "nul\x00", "label"),
)


class Payload:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def pickles(folder: Path, source: random.Random) -> Path:
    """What torchvision stores CIFAR-10 in, or an array of objects; each runs code when loaded."""
    content = pickle.dumps({b"data": Payload(folder / "run"), b"labels": [1]})
    match source.randrange(4):
        case 0:
            inside = folder / "cifar-10-batches-py"
            inside.mkdir()
            for name in ("data_batch_1", "test_batch", "batches.meta"):
                (inside / name).write_bytes(content)
            return inside
        case 1:
            (folder / "set.npy").write_bytes(content)
            return folder / "set.npy"
        case 2:
            objects = np.empty(3, object)
            objects[0] = Payload(folder / "run")
            np.savez(folder / "set.npz", images=images(), labels=objects)
            return folder / "set.npz"
        case _:
            (folder / "set.pkl").write_bytes(content)
            return folder / "set.pkl"


def header(shape: object, kind: object, *, columns: bool = False) -> bytes:
    """Beginning of a ``.npy`` file that declares what it is told."""
    text = f"{{'descr': {kind!r}, 'fortran_order': {columns}, 'shape': {shape!r}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


def other_header(folder: Path, source: random.Random) -> Path:
    """Arrays whose header declares any shape and type."""
    head = header(source.choice(SHAPES), source.choice(TYPES), columns=source.random() < 0.3)
    damaged = source.random()
    if damaged < 0.1:
        head = head[: source.randrange(len(head))]
    elif damaged < 0.2:
        head = head.replace(b"shape", source.choice((b"shap", b"\x00hape", b"((((", b"shape: ")))
    values = images().tobytes() * source.choice((0, 1, 9))
    if source.random() < 0.3:
        (folder / "set.npy").write_bytes(head + values)
        return folder / "set.npy"
    which = source.choice(("images", "labels"))
    with zipfile.ZipFile(folder / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (("images", images()), ("labels", labels())):
            file = io.BytesIO()
            np.save(file, array)
            content = head + values if name == which else file.getvalue()
            archive.writestr(f"{name}.npy", content)
    return folder / "set.npz"


def other_members(folder: Path, source: random.Random) -> Path:
    """Archives with other names, methods and flags."""
    how = source.choice((zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(folder / "set.npz", "w", how) as archive:
        for array in (images(), labels()):
            file = io.BytesIO()
            np.save(file, array)
            name = source.choice(NAMES) + source.choice((".npy", "", "/"))
            archive.writestr(name or "x", file.getvalue())
    content = bytearray((folder / "set.npz").read_bytes())
    for signature, flags, method in ((b"PK\3\4", 6, 8), (b"PK\1\2", 8, 10)):
        place = content.find(signature)
        if place >= 0 and source.random() < 0.3:
            content[place + flags] |= 1 << source.randrange(8)
        if place >= 0 and source.random() < 0.3:
            content[place + method] = source.choice((0, 1, 8, 9, 12, 14, 93, 98, 99))
    (folder / "set.npz").write_bytes(content)
    return folder / "set.npz"


def other_values(folder: Path, source: random.Random) -> Path:
    """Arrays of any shape and type that are whole, as images or as labels."""
    kinds = ("u1", "i1", "u2", "i8", "u8", "?", "f2", "f4", "f8", "c8", "S3", "U3", "M8[s]")
    shape = source.choice(((6, 28, 28), (6, 28, 28, 1), (6,), (6, 10), (), (6, 3, 2, 2), (6, 784)))
    kind = np.dtype(source.choice(kinds))
    values = np.frombuffer(source.randbytes(10_000 * kind.itemsize), kind)
    array = np.resize(values, shape)
    given = source.choice(({"images": array}, {"labels": array}))
    arrays = {"images": images(), "labels": labels(), **given}
    if source.random() < 0.5:
        np.savez(folder / "set.npz", **arrays)
        return folder / "set.npz"
    with h5py.File(folder / "set.h5", "w") as file:
        for name, one in arrays.items():
            unknown = one.dtype.kind in "UM"  # to HDF5
            file.create_dataset(name, data=np.zeros(one.shape, "S3") if unknown else one)
    return folder / "set.h5"


HUGE = ((2**40, 28, 28), (6, 2**30, 2**30), (2**62,))


def _records(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (6,), np.dtype([("a", "f4"), ("b", "u1", (3,))]))


def _large_chunk(file: h5py.File, name: str) -> None:
    shape = (6, 2**13, 2**13, 3)
    file.create_dataset(name, shape, "u1", chunks=shape)


def _deep(file: h5py.File, _: str) -> None:
    group = file.create_group("deep")
    for _depth in range(200):
        group = group.create_group("deeper")
    group["circle"] = file["/"]


HDF5_PARTS: tuple[Callable[[h5py.File, str], object], ...] = (
    lambda file, name: file.__setitem__(name, h5py.SoftLink(f"/{name}")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/other")),
    lambda file, name: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/")),
    lambda file, name: file.create_dataset(name, (9,), "u1", external=[("/etc/passwd", 0, 9)]),
    lambda file, name: file.create_group(name).create_group("images"),
    lambda file, name: file.__setitem__(name, h5py.Empty("u1")),
    lambda file, name: file.__setitem__(name, h5py.Empty("S10")),
    *(lambda file, name, value=value: file.__setitem__(name, value) for value in (1, 2.5, "text")),
    *(
        lambda file, name, shape=shape: file.create_dataset(
            name, shape, "u1", chunks=(1,) * len(shape)
        )
        for shape in HUGE
    ),
    lambda file, name: file.create_dataset(name, data=["text"] * COUNT),
    lambda file, name: file.create_dataset(
        name, data=[file["other"].ref] * COUNT, dtype=h5py.ref_dtype
    ),
    *(_records, _large_chunk, _deep),
)
"""What is stored as images or as labels."""


def hdf5_structure(folder: Path, source: random.Random) -> Path:
    """HDF5 files of links, groups, references, empty and enormous arrays."""
    path = folder / "set.h5"
    with h5py.File(path, "w") as file:
        name = source.choice(("images", "labels"))
        file["other"] = images()
        file["labels" if name == "images" else "images"] = (
            labels() if name == "images" else images()
        )
        source.choice(HDF5_PARTS)(file, name)
    return path


def folder_of_names(folder: Path, source: random.Random) -> Path:
    """Folders and files with odd names, links, pipes and empty files among the images."""
    inside = pictures("png")(folder, source)
    for _ in range(source.choice((1, 2, 3))):
        name = source.choice(NAMES).replace("/", "_").replace("\0", "")[:200] or "x"
        place = source.choice((inside, inside / "0", inside / name))
        place.mkdir(exist_ok=True)
        path = place / f"{name}{source.choice(('.png', '.PNG', '', '.csv'))}"
        if path.exists() or path.is_symlink():
            continue
        match source.randrange(6):
            case 0:
                path.symlink_to(source.choice(("/etc/passwd", "/dev/zero", "..", "nowhere")))
            case 1:
                os.mkfifo(path)
            case 2:
                path.mkdir()
            case 3:
                path.write_bytes(b"%!PS\n(/tmp/x) (w) file\n")
            case 4:
                path.write_bytes(b"")
            case _:
                Image.fromarray(images()[0]).save(path, "PNG")
    return inside


def other_table(folder: Path, source: random.Random) -> Path:
    """A table of labels with odd rows."""
    inside = table(folder, source)
    odd = source.choice(
        (
            *("0.png,-1", "0.png,1e308", "0.png,nan", "0.png,9999999999999999999", "0.png,\x1b[2J"),
            *('0.png,"', "0.png", ",", "0.png,1,2,3", "0.png," + "9" * 200_000, "0.png,٣", "\0"),
            *("\ufeff0.png,1", "0.png,0x10", "0.png,1_000", "0.png,inf", "0.png,true"),
        )
    )
    lines = (inside / "labels.csv").read_text().splitlines()
    lines[source.randrange(len(lines))] = odd
    (inside / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return inside


STRUCTURE: tuple[Write, ...] = (
    *(other_header, other_members, other_values, hdf5_structure),
    *(folder_of_names, other_table, pickles),
)
