"""Sources of training images, and the images that are held out for evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.data import FileSource, ImageSet, bundled_sets, is_name, load_images
from robcert.certify.errors import DataError, InvalidParameterError
from robcert.certify.numerics import generator

from .images import LabelledImages, TrainingImages
from .streamed import StreamedImages, as_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_DATA = "fashion-mnist"
TRY_OUT_DATA = "fashion-mnist-2000"
HELD_OUT = 10
"""One image in this many is held out for evaluation if the data has no test images."""
VALIDATION = 20
"""One training image in this many is held out for validation if the data has test images."""

MOST_HELD = 4 * 2**30
"""Bytes of the pixels of a data set that is held in memory; larger ones are streamed."""

_READ = 4096
_SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """How training images are read.

    Attributes:
        image_size: side of the squares cut out of photographs; 0 if all images have one size.
        stream: whether images are read as needed; None if they would not fit into memory.
        workers: processes that read images as needed; 0 for the one that trains.
    """

    image_size: int = 0
    stream: bool | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        if self.image_size and self.stream is False:
            message = "squares cut out of photographs change in every epoch and are not held"
            raise InvalidParameterError(message, hint="leave out --no-stream, or the image size")


AS_STORED = Reading()
"""Images of one size, in memory if they fit."""


@dataclass(frozen=True, slots=True)
class Split:
    """Training and evaluation images.

    Attributes:
        train: training images.
        evaluation: evaluation images, not used for training.
        notes: how they were chosen, one line each.
    """

    train: LabelledImages
    evaluation: LabelledImages
    notes: tuple[str, ...] = ()


def training_images(
    source: str,
    *,
    root: Path | None = None,
    fetch: bool = True,
    validation: bool = False,
    reading: Reading = AS_STORED,
) -> Split:
    """Training and evaluation images of a data set given by name, file, folder or address.

    Standard data sets and folders with subfolders ``train`` and ``test`` (or ``val``) have test
    images, which are the evaluation images. With ``validation`` they are not used, and one in
    twenty training images is held out for evaluation. Of other data one in ten images is held out.
    Which images are held out depends on their number alone.

    Args:
        source: name, file, folder or address.
        root: folder of the standard data sets; None for the user's cache.
        fetch: whether a standard data set may be downloaded.
        validation: whether training images are held out where test images exist.
        reading: whether the images are held in memory, or else how they are read.

    Raises:
        DataError: the source does not exist, or its images have no labels.
    """
    load = partial(load_images, root=root, fetch=fetch)
    parts = _parts(source)
    sets = [_labelled(load(part, unread=True)) for part in parts]
    _require_same_classes(sets)
    for images in sets:
        _require_one_size(images, reading)
    held, note = _decision(sets, reading)
    if held:  # image files were only listed
        sets = [
            load(p) if isinstance(s.source, FileSource) else s
            for p, s in zip(parts, sets, strict=True)
        ]

    def made(images: ImageSet) -> LabelledImages:
        if held:
            return _in_memory(images)
        return StreamedImages.of(images, image_size=reading.image_size, workers=reading.workers)

    train = made(sets[0])
    if len(sets) == 1:
        split = _held_out(train, HELD_OUT)
    elif validation:
        split = _held_out(train, VALIDATION, sets[1].name)
    else:
        warning = (
            f"the best epoch is chosen on the test images of {sets[1].name}, so its accuracy there "
            "is too optimistic"
        )
        split = Split(train, made(sets[1]), (warning,))
    return replace(split, notes=(*split.notes, note))


def default_images(
    *,
    root: Path | None = None,
    fetch: bool = True,
    validation: bool = False,
    reading: Reading = AS_STORED,
) -> Split:
    """Fashion-MNIST if it is available, else the bundled part of its test images, with a note."""
    try:
        return training_images(
            DEFAULT_DATA, root=root, fetch=fetch, validation=validation, reading=reading
        )
    except DataError as error:
        split = training_images(TRY_OUT_DATA, reading=reading)
        bundled = f"the {len(split.train)} bundled training images"
        note = f"{error}: using {bundled} instead, for a trial run"
        return Split(split.train, split.evaluation, (*split.notes, note))


def _parts(source: str) -> tuple[str, ...]:
    """What to load: training and test images, or one set of which a part is held out."""
    path = Path(source).expanduser()
    if path.is_dir() and (path / "train").is_dir():
        for test in ("test", "val"):
            if (path / test).is_dir():
                return str(path / "train"), str(path / test)
    if not path.exists() and is_name(source) and source.lower() not in bundled_sets():
        name = source.partition(":")[0]
        return f"{name}:train", name
    return (source,)


def _labelled(images: ImageSet) -> ImageSet:
    """``images``.

    Raises:
        DataError: they have no labels.
    """
    if images.labels is None:
        message = f"{images.name} has no labels, which training needs"
        raise DataError(message)
    return images


def _require_same_classes(sets: Sequence[ImageSet]) -> None:
    """Raise if training and test images have other classes, and thereby other numbers of them.

    Raises:
        DataError: they have.
    """
    train, test = sets[0], sets[-1]
    if not train.classes or not test.classes or train.classes == test.classes:
        return
    only = sorted(set(train.classes) ^ set(test.classes))
    message = (
        f"{train.name} has {len(train.classes)} classes and {test.name} {len(test.classes)}: "
        f"{', '.join(only[:3])}{', …' if len(only) > 3 else ''} only in one of them"
    )
    raise DataError(message, hint="the folders of a class must have the same name in both")


def _require_one_size(images: ImageSet, reading: Reading) -> None:
    """Raise if a sample of image files has several sizes, and no square is to be cut out of them.

    Raises:
        DataError: it has, or squares are to be cut out of arrays.
    """
    source = images.source
    if reading.image_size and not isinstance(source, FileSource):
        message = f"{images.name} holds arrays of one size, not photographs"
        raise DataError(message, hint="leave out --image-size")
    if reading.image_size or not isinstance(source, FileSource) or not source.as_stored:
        return
    for number in range(0, len(images), 1 + len(images) // _SAMPLE):
        width, height = source.photograph(number).size
        if (height, width) != source.shape[1:]:
            message = (
                f"images of {images.name} have several sizes: {source.shape[2]}x{source.shape[1]} "
                f"and {width}x{height} ({source.name(number)})"
            )
            raise DataError(message, hint="--image-size 224 cuts squares out of photographs")


def _decision(sets: Sequence[ImageSet], reading: Reading) -> tuple[bool, str]:
    """Whether the images are held in memory, and a line that says why."""
    count = sum(map(len, sets))
    asked = ", as asked" if reading.stream is not None else ""
    readers = "the training itself"
    if reading.workers:
        readers = f"{reading.workers} process{'es' if reading.workers > 1 else ''}"
    if reading.image_size:
        side = f"{reading.image_size}x{reading.image_size}"
        return False, f"{side} pixels are cut out of {count:,} images, read as needed by {readers}"
    needed = sum(_held_bytes(images) for images in sets)
    held = needed <= MOST_HELD if reading.stream is None else not reading.stream
    if held:
        return True, f"all {count:,} images are held in memory ({_size(needed)}){asked}"
    limit = asked or f"; up to {_size(MOST_HELD)} are held in memory"
    return False, f"{count:,} images ({_size(needed)}) are read as needed by {readers}{limit}"


def _held_bytes(images: ImageSet) -> int:
    """Bytes that all pixels of ``images`` take, if they are stored like those of the first."""
    first = as_stored(images.pixels(np.zeros(1, np.int64)))
    return len(images) * math.prod(images.shape) * first.element_size()


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{count / 2**20:.3g} MiB"


def _in_memory(images: ImageSet) -> TrainingImages:
    """All of ``images``, as uint8 if their pixels are multiples of 1/255, else as float32."""
    images = _labelled(images)
    assert images.labels is not None
    pieces = []
    for start in range(0, len(images), _READ):
        rows = np.arange(start, min(start + _READ, len(images)), dtype=np.int64)
        pieces.append(as_stored(images.pixels(rows)))
    if any(piece.dtype != torch.uint8 for piece in pieces):
        pieces = [piece.float() / (255 if piece.dtype == torch.uint8 else 1) for piece in pieces]
    labels = torch.from_numpy(images.labels.astype(np.int64))
    return TrainingImages(torch.cat(pieces), labels, images.name, images.sha256)


def held_out_rows(count: int, part: int = HELD_OUT) -> Tensor:
    """Rows of ``count`` images that are held out, one in ``part``, ascending."""
    order = torch.randperm(count, generator=generator(0, "train-held-out", count))
    return order[::part].sort().values


def _held_out(images: LabelledImages, part: int, test_name: str = "") -> Split:
    """Split of ``images`` with one in ``part`` held out for evaluation.

    Args:
        images: to be split.
        part: number of images of which one is held out.
        test_name: name of the data set of the corresponding test images.
    """
    count = len(images)
    if count < part:
        message = f"{images.name} has only {count} images; training needs at least {part}"
        raise DataError(message)
    kept = held_out_rows(count, part)
    used = torch.ones(count, dtype=torch.bool).index_fill_(0, kept, False).nonzero().flatten()
    note = f"{len(kept)} of the {count} images of {images.name} are held out for evaluation"
    return Split(images.at(used), images.at(kept, test_name=test_name), (note,))
