"""Images by a name or a path."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from robcert.certify.addresses import is_address, suffix_of, without_secrets
from robcert.certify.errors import DataError

from .arrays import from_arrays
from .beside import is_of_labels
from .class_folders import SUFFIXES
from .encoded import SUFFIXES as ENCODED
from .encoded import from_encoded
from .files import from_file
from .folder import from_folder
from .image_set import DataInfo, ImageSet, select
from .named import NAMED, bundled_sets, from_idx, from_name, has_idx, is_name
from .remote import local_copy, matching

__all__ = ["DataInfo", "ImageSet", "from_arrays", "load_images", "select"]

FILES = (".npz", ".npy", ".h5", ".hdf5")
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


def load_images(
    source: str | Path, *, root: Path | None = None, fetch: bool = True, unread: bool = False
) -> ImageSet:
    """Image set of a name (``cifar10``, ``fashion-mnist-2000``), a file, a folder or an address.

    Args:
        source: an address (``s3://…``), an existing path, a name, or a pattern of files ``.tar`` or
            ``.parquet`` (``val-{00..49}.tar``, ``val-*.parquet``).
        root: folder of the standard data sets; None for the user's cache.
        fetch: whether a standard data set may be downloaded.
        unread: whether image files are only listed, and each is checked when it is read: the hash
            is then of their names and labels. Files of arrays are read all the same.

    Raises:
        DataError: there is no such file, folder or data set, or it has no usable images.
    """
    if is_address(source):
        return _from_address(str(source), unread=unread)
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_directory(path, unread=unread)
    if path.is_file():
        if path.suffix.lower() in FILES:
            return from_file(path)
        if path.suffix.lower() in ENCODED:
            return from_encoded([str(path)], unread=unread)
        message = f"{path} is not a file of images that robcert reads"
        raise DataError(message, hint=_instead(path))
    if isinstance(source, str) and is_name(source):
        return from_name(source, root=root, fetch=fetch, unread=unread)
    if path.suffix.lower() in ENCODED:
        return from_encoded(matching(str(path)), unread=unread)
    names = [*bundled_sets(), *NAMED, "imagenet"]
    close = get_close_matches(str(source).lower(), names, n=1)
    message = f"there is no file, folder or data set {source}"
    hint = f"did you mean {close[0]}?" if close else f"data sets: {', '.join(names)}"
    raise DataError(message, hint=hint)


def _from_address(address: str, *, unread: bool) -> ImageSet:
    """The images at ``address``: encoded ones are read as needed, a file of arrays is copied."""
    suffix = suffix_of(address)
    if suffix in ENCODED:
        return from_encoded(matching(address), unread=unread)
    if suffix in FILES:
        return from_file(local_copy(address))
    message = f"{without_secrets(address)} is not a file of images that robcert reads"
    raise DataError(message, hint=f"give files {', '.join((*FILES, *ENCODED))}")


def _from_directory(path: Path, *, unread: bool) -> ImageSet:
    if has_idx(path):
        return from_idx(path)
    if (path / "images.npy").is_file():
        return from_file(path / "images.npy")
    arrays = _files_of_images(path)
    if arrays and not any(_is_image(entry) for entry in path.rglob("*")):
        if len(arrays) == 1:
            return from_file(arrays[0])
        names = ", ".join(entry.name for entry in arrays[:3]) + (", …" if arrays[3:] else "")
        message = f"{path} holds several files of images: {names}"
        raise DataError(message, hint=f"give one of them, for instance {arrays[0]}")
    encoded = [str(entry) for entry in sorted(path.iterdir()) if _is_encoded(entry)]
    if encoded and not arrays and not any(_is_image(entry) for entry in path.rglob("*")):
        return replace(from_encoded(encoded, unread=unread), name=path.name)
    return from_folder(path, unread=unread)


def _is_encoded(path: Path) -> bool:
    return path.suffix.lower() in ENCODED and path.is_file() and not path.name.startswith(".")


def _files_of_images(folder: Path) -> list[Path]:
    """Files of arrays in ``folder`` that are not named after labels."""
    found = (entry for entry in sorted(folder.iterdir()) if entry.suffix.lower() in FILES)
    return [
        entry
        for entry in found
        if entry.is_file() and not entry.name.startswith(".") and not is_of_labels(entry)
    ]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _instead(path: Path) -> str:
    """What to give instead of the file ``path``."""
    suffix = path.suffix.lower()
    if suffix in ARCHIVES:
        return "unpack it, and give the folder or the file in it"
    if suffix in SUFFIXES:
        return f"put it into a folder and give that, or the folder it is in: {path.parent}"
    return f"use a folder or a file {', '.join((*FILES, *ENCODED))}"
