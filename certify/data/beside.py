"""Labels in a file beside that of the images, as CIFAR-10-C and PatchCamelyon have them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.errors import DataError

from .hdf5_file import hdf5_arrays, hdf5_head
from .limits import MOST_LABELS
from .npy_file import npy_labels
from .reading import readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = {"images": "labels", "image": "label", "data": "labels", "x": "y", "X": "y"}
"""Words in the name of a file of images, and those in the name of its labels."""

COMMON = ("labels", "y", "targets")
"""Names of a file of labels for all files of images beside it."""

CORRUPTIONS = {
    *("brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost"),
    *("gaussian_blur", "gaussian_noise", "glass_blur", "impulse_noise", "jpeg_compression"),
    *("motion_blur", "pixelate", "saturate", "shot_noise", "snow", "spatter"),
    *("speckle_noise", "zoom_blur"),
}
"""Files of CIFAR-10-C and its like (Hendrycks and Dietterich 2019, arXiv:1903.12261)."""

SEVERITIES = 5


@dataclass(frozen=True, slots=True)
class LabelsBeside:
    """Labels found beside a file.

    Attributes:
        labels: as stored; None if there are none.
        note: where they come from, or that there are none.
    """

    labels: NDArray[Any] | None
    note: str


def labels_beside(path: Path, images: int) -> LabelsBeside:
    """Labels for the file ``path`` of ``images`` images.

    They are in the file of the same name with ``labels`` for ``images`` or ``y`` for ``x``; else
    in one called ``labels`` or the like, if it has as many labels as there are images.

    Raises:
        DataError: the file of labels cannot be read.
    """
    for beside in _renamed(path):
        if beside.is_file():
            return LabelsBeside(_read(beside), f"labels from {beside.name}")
    for word in COMMON:
        beside = path.with_name(word + path.suffix)
        if beside == path or not beside.is_file():
            continue
        labels = _read(beside)
        if len(labels) == images:
            return LabelsBeside(labels, f"labels from {beside.name}")
        count = f"it has {len(labels)} labels, and there are {images} images"
        return LabelsBeside(None, f"no labels: {beside.name} beside it is not used, since {count}")
    return LabelsBeside(None, f"no labels: there is no labels{path.suffix} or similar beside it")


def is_corrupted(path: Path) -> bool:
    """Whether ``path`` is named after a corruption of CIFAR-10-C."""
    return path.stem.lower() in CORRUPTIONS


def is_of_labels(path: Path) -> bool:
    """Whether ``path`` is named as a file of labels.

    >>> from pathlib import Path
    >>> [is_of_labels(Path(name)) for name in ("y_test.npy", "labels.h5", "energy.npy")]
    [True, True, False]
    """
    words = re.findall("[a-z]+", path.stem.lower())
    return not {*COMMON, "label", "target"}.isdisjoint(words)


def severity_notes(labels: NDArray[Any]) -> tuple[str, ...]:
    """A note on the order of the images if ``labels`` are five times the same."""
    blocks = len(labels) // SEVERITIES
    if len(labels) != SEVERITIES * blocks or not blocks:
        return ()
    if not (labels == np.concatenate([labels[:blocks]] * SEVERITIES)).all():
        return ()
    parts = ", ".join(
        f"{level} = {(level - 1) * blocks}-{level * blocks - 1}"
        for level in range(1, SEVERITIES + 1)
    )
    return (f"images of five severities ({parts}): choose one with --indices",)


def _renamed(path: Path) -> Iterator[Path]:
    """Files that the labels of ``path`` would be in by name; the last such word counts first."""
    for word, instead in NAMES.items():
        found = [*re.finditer(rf"(?<![A-Za-z]){word}(?![A-Za-z])", path.stem)]
        for match in reversed(found):
            stem = path.stem[: match.start()] + instead + path.stem[match.end() :]
            yield path.with_name(stem + path.suffix)


def _read(path: Path) -> NDArray[Any]:
    """The array of labels in ``path``.

    Raises:
        DataError: it cannot be read, or holds several arrays.
    """
    with readable(path):
        if path.suffix.lower() == ".npy":
            labels = npy_labels(path)
        else:
            arrays = hdf5_arrays(path)
            if len(arrays) != 1:
                message = f"it holds {len(arrays)} arrays, not one of labels"
                raise ValueError(message)
            (array,) = arrays.values()
            hdf5_head(array).require_plausible(MOST_LABELS)
            labels = np.asarray(array[()])
    if not labels.ndim:
        message = f"{path} holds one number, not one label per image"
        raise DataError(message, hint="store one whole number per image")
    return labels
