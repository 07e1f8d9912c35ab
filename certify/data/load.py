"""Images by a name or a path."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from robcert.certify.errors import DataError

from .arrays import from_arrays
from .files import from_file
from .folder import from_folder
from .image_set import DataInfo, ImageSet, select
from .named import NAMED, bundled_sets, from_idx, from_name, has_idx, is_name

__all__ = ["DataInfo", "ImageSet", "from_arrays", "load_images", "select"]

FILES = (".npz", ".npy", ".h5", ".hdf5")


def load_images(source: str | Path, *, root: Path | None = None, fetch: bool = True) -> ImageSet:
    """Image set of a name (``cifar10``, ``fashion-mnist-2000``), a file or a folder.

    Args:
        source: an existing path, else a name.
        root: folder of the standard data sets; None for the user's cache.
        fetch: whether a standard data set may be downloaded.

    Raises:
        DataError: there is no such file, folder or data set, or it has no usable images.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_directory(path)
    if path.is_file():
        if path.suffix.lower() in FILES:
            return from_file(path)
        message = f"{path} is not a file of images that robcert reads"
        raise DataError(message, hint=f"use a folder or a file {', '.join(FILES)}")
    if isinstance(source, str) and is_name(source):
        return from_name(source, root=root, fetch=fetch)
    names = [*bundled_sets(), *NAMED, "imagenet"]
    close = get_close_matches(str(source).lower(), names, n=1)
    message = f"there is no file, folder or data set {source}"
    hint = f"did you mean {close[0]}?" if close else f"data sets: {', '.join(names)}"
    raise DataError(message, hint=hint)


def _from_directory(path: Path) -> ImageSet:
    if has_idx(path):
        return from_idx(path)
    if (path / "images.npy").is_file():
        return from_file(path / "images.npy")
    return from_folder(path)
