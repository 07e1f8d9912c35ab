"""Where training images come from, and which of them are kept for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from robcert.certify.data import ImageSet, bundled_sets, is_name, load_images
from robcert.certify.errors import DataError
from robcert.certify.numerics import generator

from .images import TrainingImages

DEFAULT_DATA = "fashion-mnist"
TRY_OUT_DATA = "fashion-mnist-2000"
HELD_OUT = 10
"""One image in so many is kept for evaluation where the data has no test images of its own."""
VALIDATION = 20
"""One training image in so many is held out for validation where it has."""

_READ = 4096


@dataclass(frozen=True, slots=True)
class Split:
    """Images to train on and images to measure on.

    Attributes:
        notes: what was decided, one line each.
    """

    train: TrainingImages
    evaluation: TrainingImages
    notes: tuple[str, ...] = ()


def training_images(
    source: str, *, root: Path | None = None, fetch: bool = True, validation: bool = False
) -> Split:
    """Training and evaluation images of a data set's name, a file or a folder.

    Standard sets and folders with ``train`` and ``test`` (or ``val``) inside have both, and with
    ``validation`` the test images are left for later: every twentieth training image, in an order
    shuffled by the number of images alone, is kept for evaluation. Of anything else every tenth is.

    Args:
        source: name, file or folder.
        root: folder of the standard data sets; None for the user's cache.
        fetch: whether a standard data set may be downloaded.
        validation: hold training images out where there are test images.

    Raises:
        DataError: there is no such thing, or its images have no labels.
    """
    path = Path(source).expanduser()
    if path.is_dir() and (path / "train").is_dir():
        test = next((path / part for part in ("test", "val") if (path / part).is_dir()), None)
        if test is not None:
            return _with_test(load_images(path / "train"), load_images(test), validation=validation)
    if not path.exists() and is_name(source) and source.lower() not in bundled_sets():
        name = source.partition(":")[0]
        train, found = (load_images(n, root=root, fetch=fetch) for n in (f"{name}:train", name))
        return _with_test(train, found, validation=validation)
    return _held_out(_in_memory(load_images(source, root=root, fetch=fetch)), HELD_OUT)


def default_images(
    *, root: Path | None = None, fetch: bool = True, validation: bool = False
) -> Split:
    """Fashion-MNIST where it can be had, else the bundled part of its test images, with a note."""
    try:
        return training_images(DEFAULT_DATA, root=root, fetch=fetch, validation=validation)
    except DataError as error:
        split = training_images(TRY_OUT_DATA)
        note = f"{error}: training on the bundled {len(split.train)} images, a try-out"
        return Split(split.train, split.evaluation, (*split.notes, note))


def _in_memory(images: ImageSet) -> TrainingImages:
    """All of ``images``, as bytes where they are bytes."""
    if images.labels is None:
        message = f"{images.name} has no labels to train on"
        raise DataError(message)
    pieces = []
    for start in range(0, len(images), _READ):
        piece = images.pixels(np.arange(start, min(start + _READ, len(images)), dtype=np.int64))
        as_bytes = (piece * 255).round().to(torch.uint8)
        exact = torch.equal(as_bytes.float() / 255, piece)
        pieces.append(as_bytes if exact else piece)
    if any(piece.dtype != torch.uint8 for piece in pieces):
        pieces = [piece.float() / (255 if piece.dtype == torch.uint8 else 1) for piece in pieces]
    labels = torch.from_numpy(images.labels.astype(np.int64))
    return TrainingImages(torch.cat(pieces), labels, images.name, images.sha256)


def _with_test(train: ImageSet, test: ImageSet, *, validation: bool) -> Split:
    """Images to train on, and those to measure on, which belong to the data set of ``test``."""
    if not validation:
        note = f"the best epoch is chosen by the test images of {test.name}, which flatters it"
        return Split(_in_memory(train), _in_memory(test), (note,))
    split = _held_out(_in_memory(train), VALIDATION)
    return replace(split, evaluation=replace(split.evaluation, test_name=test.name))


def _held_out(images: TrainingImages, part: int) -> Split:
    """One image in ``part`` kept for evaluation."""
    count = len(images)
    if count < part:
        message = f"{images.name} has {count} images, too few to train on and keep some"
        raise DataError(message)
    order = torch.randperm(count, generator=generator(0, "train-held-out", count))
    kept = order[::part].sort().values
    used = order[torch.arange(count) % part != 0].sort().values
    note = f"{len(kept)} of the {count} images of {images.name} are kept for evaluation"
    parts = [
        TrainingImages(images.pixels[rows], images.labels[rows], images.name, images.sha256)
        for rows in (used, kept)
    ]
    return Split(parts[0], parts[1], (note,))
