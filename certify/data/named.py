"""Data sets by name: bundled, installed on the system, or downloaded by torchvision."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.errors import DataError

from .arrays import from_arrays
from .files import from_file, read_idx
from .folder import from_folder

if TYPE_CHECKING:
    from .image_set import ImageSet

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Folder of the idx files of Debian's package dataset-fashion-mnist."""

IMAGENET_RESIZE, IMAGENET_CROP = 256, 224

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A standard data set.

    Attributes:
        torchvision: name of torchvision's class.
        classes: names of the classes if torchvision does not know them.
        by_split: whether torchvision's argument is ``split`` instead of ``train``.
    """

    torchvision: str
    doc: str
    classes: tuple[str, ...] = ()
    by_split: bool = False


NAMED: dict[str, NamedSet] = {
    "mnist": NamedSet("MNIST", "handwritten digits, 28x28 grey", DIGITS),
    "fashion-mnist": NamedSet("FashionMNIST", "clothes, 28x28 grey", CLOTHES),
    "kmnist": NamedSet("KMNIST", "Japanese characters, 28x28 grey"),
    "cifar10": NamedSet("CIFAR10", "objects of 10 classes, 32x32 colour"),
    "cifar100": NamedSet("CIFAR100", "objects of 100 classes, 32x32 colour"),
    "svhn": NamedSet("SVHN", "house numbers, 32x32 colour", DIGITS, by_split=True),
    "stl10": NamedSet("STL10", "objects of 10 classes, 96x96 colour", by_split=True),
}
"""Data sets that can be downloaded; ``imagenet`` is read from a folder."""

BUNDLED_CLASSES = {"fashion-mnist-2000": CLOTHES}
"""Names of the classes of bundled sets, whose files hold images and labels alone."""


def bundled_sets() -> tuple[str, ...]:
    """Names of the data sets that come with robcert."""
    files = resources.files("robcert.fixtures").iterdir()
    return tuple(sorted(file.name[:-4] for file in files if file.name.endswith(".npz")))


def is_name(text: str) -> bool:
    """Whether ``text`` names a data set (``cifar10``, ``cifar10:train``)."""
    name = text.partition(":")[0].lower()
    return name in NAMED or name == "imagenet" or name in bundled_sets()


def from_name(text: str, *, root: Path | None, fetch: bool, unread: bool = False) -> ImageSet:
    """Image set called ``text``; its test images, or with ``:train`` those for training.

    Args:
        text: one of ``NAMED``, ``imagenet``, or a bundled set.
        root: folder of the data, also for downloads; None for the user's cache.
        fetch: whether to download a missing data set.
        unread: whether image files are only listed; see :func:`load_images`.

    Raises:
        DataError: it is missing and cannot be downloaded.
    """
    name, _, part = text.lower().partition(":")
    if part not in ("", "test", "train"):
        message = f"{text} has no part {part!r}"
        raise DataError(message, hint=f"{name} or {name}:train")
    if name in bundled_sets():
        with resources.as_file(resources.files("robcert.fixtures") / f"{name}.npz") as path:
            return replace(from_file(path), classes=BUNDLED_CLASSES.get(name, ()))
    if name == "imagenet":
        return _imagenet(root, "train" if part == "train" else "val", unread=unread)
    for folder in _idx_folders(name, root):
        return from_idx(folder, name=name, train=part == "train", classes=NAMED[name].classes)
    return _from_torchvision(name, root or _cache(), train=part == "train", fetch=fetch)


def has_idx(folder: Path) -> bool:
    """Whether ``folder`` holds idx files of images."""
    return bool(list(folder.glob("*-images?idx3-ubyte*")))


def from_idx(
    folder: Path, *, name: str = "", train: bool = False, classes: tuple[str, ...] = ()
) -> ImageSet:
    """Image set of the idx files (MNIST's format) in ``folder``."""
    prefix = "train" if train else "t10k"
    images, labels = (
        next(iter(sorted(folder.glob(f"{prefix}-{what}-ubyte*"))), None)
        for what in ("images?idx3", "labels?idx1")
    )
    if images is None or labels is None:
        message = f"{folder} lacks {prefix}-images-idx3-ubyte or {prefix}-labels-idx1-ubyte"
        raise DataError(message)
    return from_arrays(
        (name or folder.name) + (":train" if train else ""),
        read_idx(images),
        read_idx(labels),
        classes=classes,
    )


def _idx_folders(name: str, root: Path | None) -> list[Path]:
    """Folders that hold the set ``name`` as idx files."""
    folders: list[Path] = []
    if name == "fashion-mnist" and root is None:
        folders.append(SYSTEM_FOLDER)
    if name in ("mnist", "fashion-mnist", "kmnist"):
        base = root or _cache()
        folders += [base, base / name, base / NAMED[name].torchvision / "raw"]
    return [folder for folder in folders if has_idx(folder)]


def _imagenet(root: Path | None, part: str, *, unread: bool) -> ImageSet:
    folder = None if root is None else root / part
    if folder is None or not folder.is_dir():
        message = f"imagenet cannot be downloaded, and there is no folder {part} of class folders"
        raise DataError(message, hint="set the data root to the folder of the data set")
    return from_folder(
        folder, name="imagenet", resize=IMAGENET_RESIZE, crop=IMAGENET_CROP, unread=unread
    )


def _from_torchvision(name: str, root: Path, *, train: bool, fetch: bool) -> ImageSet:
    from torchvision import datasets

    known = NAMED[name]
    part = {"split": "train" if train else "test"} if known.by_split else {"train": train}
    try:
        with contextlib.redirect_stdout(sys.stderr):
            data = getattr(datasets, known.torchvision)(str(root), download=fetch, **part)
    except (RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(": ") or type(error).__name__
        message = f"{name} is not in {root} and could not be downloaded: {reason}"
        hint = "set the data root to the folder of the data set, or use a file of images"
        raise DataError(message, hint=hint) from error
    labels = data.labels if hasattr(data, "labels") else data.targets
    return from_arrays(
        name + (":train" if train else ""),
        np.asarray(data.data),
        np.asarray(labels),
        classes=known.classes or tuple(getattr(data, "classes", ())),
    )


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "robcert" / "data"
