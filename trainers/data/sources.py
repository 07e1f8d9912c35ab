"""Sources of training images, and the images that are held out for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robcert.certify.data import ImageSet, bundled_sets, is_name, load_images
from robcert.certify.errors import DataError
from robcert.certify.numerics import generator

from .images import TrainingImages

DEFAULT_DATA = "fashion-mnist"
TRY_OUT_DATA = "fashion-mnist-2000"
HELD_OUT = 10
"""One image in this many is held out for evaluation if the data has no test images."""
VALIDATION = 20
"""One training image in this many is held out for validation if the data has test images."""

_READ = 4096


@dataclass(frozen=True, slots=True)
class Split:
    """Training and evaluation images.

    Attributes:
        train: training images.
        evaluation: evaluation images, not used for training.
        notes: how they were chosen, one line each.
    """

    train: TrainingImages
    evaluation: TrainingImages
    notes: tuple[str, ...] = ()


def training_images(
    source: str, *, root: Path | None = None, fetch: bool = True, validation: bool = False
) -> Split:
    """Training and evaluation images of a data set given by name, file or folder.

    Standard data sets and folders with subfolders ``train`` and ``test`` (or ``val``) have test
    images, which are the evaluation images. With ``validation`` they are not used, and one in
    twenty training images is held out for evaluation. Of other data one in ten images is held out.
    Which images are held out depends on their number alone.

    Args:
        source: name, file or folder.
        root: folder of the standard data sets; None for the user's cache.
        fetch: whether a standard data set may be downloaded.
        validation: whether training images are held out where test images exist.

    Raises:
        DataError: the source does not exist, or its images have no labels.
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
    """Fashion-MNIST if it is available, else the bundled part of its test images, with a note."""
    try:
        return training_images(DEFAULT_DATA, root=root, fetch=fetch, validation=validation)
    except DataError as error:
        split = training_images(TRY_OUT_DATA)
        bundled = f"the {len(split.train)} bundled training images"
        note = f"{error}: using {bundled} instead, for a trial run"
        return Split(split.train, split.evaluation, (*split.notes, note))


def _in_memory(images: ImageSet) -> TrainingImages:
    """All of ``images``, as uint8 if their pixels are multiples of 1/255, else as float32."""
    if images.labels is None:
        message = f"{images.name} has no labels, which training needs"
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
    """Training images, with the images of ``test`` or held-out training images for evaluation."""
    if not validation:
        note = (
            f"the best epoch is chosen on the test images of {test.name}, so its accuracy there is "
            "too optimistic"
        )
        return Split(_in_memory(train), _in_memory(test), (note,))
    split = _held_out(_in_memory(train), VALIDATION)
    return replace(split, evaluation=replace(split.evaluation, test_name=test.name))


def held_out_rows(count: int, part: int = HELD_OUT) -> Tensor:
    """Rows of ``count`` images that are held out, one in ``part``, ascending."""
    order = torch.randperm(count, generator=generator(0, "train-held-out", count))
    return order[::part].sort().values


def _held_out(images: TrainingImages, part: int) -> Split:
    """Split of ``images`` with one in ``part`` held out for evaluation."""
    count = len(images)
    if count < part:
        message = f"{images.name} has only {count} images; training needs at least {part}"
        raise DataError(message)
    kept = held_out_rows(count, part)
    used = torch.ones(count, dtype=torch.bool).index_fill_(0, kept, False).nonzero().flatten()
    note = f"{len(kept)} of the {count} images of {images.name} are held out for evaluation"
    parts = [
        TrainingImages(images.pixels[rows], images.labels[rows], images.name, images.sha256)
        for rows in (used, kept)
    ]
    return Split(parts[0], parts[1], (note,))
