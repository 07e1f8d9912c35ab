"""Small sets of images in every format that is read, which the campaign mutates."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from .base_models import ROOT

COUNT = 6

Write = Callable[[Path, random.Random], Path]


@cache
def images() -> np.ndarray:
    """A few of the bundled images ``(n, 28, 28)``."""
    with np.load(ROOT / "fixtures" / "fashion-mnist-2000.npz") as arrays:
        return np.asarray(arrays["images"][:COUNT]).reshape(COUNT, 28, 28)


@cache
def labels() -> np.ndarray:
    with np.load(ROOT / "fixtures" / "fashion-mnist-2000.npz") as arrays:
        return np.asarray(arrays["labels"][:COUNT]).astype(np.int64)


def npz(folder: Path, source: random.Random) -> Path:
    save = source.choice((np.savez, np.savez_compressed))
    save(folder / "set.npz", images=images(), labels=labels())
    return folder / "set.npz"


def npy(folder: Path, _: random.Random) -> Path:
    np.save(folder / "labels.npy", labels())
    np.save(folder / "set.npy", images())
    return folder / "set.npy"


def hdf5(folder: Path, source: random.Random) -> Path:
    with h5py.File(folder / "set.h5", "w", libver=source.choice(("earliest", "latest"))) as file:
        how = source.choice(
            (
                {},
                {"chunks": (2, 28, 28), "compression": "gzip", "shuffle": True},
                {"chunks": (1, 7, 28), "compression": "lzf", "fletcher32": True},
                {"chunks": (3, 28, 28), "maxshape": (None, 28, 28)},
            )
        )
        file.create_dataset("images", data=images(), **how)
        file.create_dataset("labels", data=labels())
    return folder / "set.h5"


def pictures(suffix: str) -> Write:
    def write(folder: Path, source: random.Random) -> Path:
        inside = folder / "set"
        for number, (image, label) in enumerate(zip(images(), labels(), strict=True)):
            place = inside / f"{label}" / f"{number}.{suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            how = {"compression": "tiff_deflate"} if suffix == "tif" and number % 2 else {}
            Image.fromarray(image).save(place, **how)
        if source.random() < 0.2:
            (inside / "labels.csv").write_text("0.png,1\n")
        return inside

    write.__name__ = suffix
    return write


def table(folder: Path, _: random.Random) -> Path:
    """A flat folder with a table of labels."""
    inside = folder / "set"
    inside.mkdir()
    for number, image in enumerate(images()):
        Image.fromarray(image).save(inside / f"{number}.png")
    rows = "\n".join(f"{number}.png,{label}" for number, label in enumerate(labels()))
    (inside / "labels.csv").write_text(f"file,label\n{rows}\n")
    return inside


def idx(folder: Path, source: random.Random) -> Path:
    inside, packed = folder / "set", source.random() < 0.5
    inside.mkdir()
    for name, array in (("images-idx3", images()), ("labels-idx1", labels().astype(np.uint8))):
        content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        content += array.tobytes()
        path = inside / f"t10k-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
    return inside


FORMATS: tuple[Write, ...] = (
    *(npz, npz, npy, hdf5, hdf5, hdf5, idx, table),
    *map(pictures, ("png", "png", "jpg", "bmp", "tif", "webp", "gif", "ppm")),
)
