"""What is reproduced, on which images, how large, how often, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.data import ImageSet, is_name, load_images
from robcert.certify.data import bundled_sets as bundled
from robcert.certify.errors import DataError, require_at_least
from robcert.trainers.data import held_out_rows

from .scale import LEAST_IMAGES, Scale

if TYPE_CHECKING:
    from .item import Item

MODELS = "models"
"""Folder of the run folders."""


@dataclass(frozen=True, slots=True)
class ReproductionRequest:
    """A reproduction.

    Attributes:
        item: table or figure.
        out: folder of everything.
        data: training images, as `robcert train --data` takes them; empty for the paper's.
        data_root: folder of data sets by name; None for the user's cache.
        scale: share of the paper's size.
        seeds: trainings of each model, with the seeds 0, 1, …
        device: device of trainings and analyses.
        threads: CPU threads; None for torch's default.
        workers: processes that compute the images of an analysis; None for none.
    """

    item: Item
    out: Path
    data: str = ""
    data_root: Path | None = None
    scale: Scale = field(default_factory=Scale)
    seeds: int = 1
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        require_at_least("seeds", self.seeds, 1)

    @property
    def source(self) -> str:
        """The data set, by name or path."""
        return self.data or self.item.data

    @property
    def images(self) -> int:
        """Number of evaluated images."""
        return self.scale.of(self.item.images, LEAST_IMAGES)

    @property
    def own_data(self) -> bool:
        """Whether the images are not those of the paper."""
        return self.source != self.item.data

    @property
    def begun(self) -> bool:
        """Whether the folder holds any training."""
        return (self.out / MODELS).is_dir()

    def settings(self) -> dict[str, object]:
        """What a folder is for; more seeds may be added to it."""
        return {
            "item": self.item.name,
            "scale": self.scale.factor,
            "data": self.source,
        }


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Images that the analyses see.

    Attributes:
        source: what `--data` of an analysis takes.
        images: the set.
        indices: positions in it.
        by_limit: whether the positions are the first ones, so that `--limit` says the same.
    """

    source: str
    images: ImageSet
    indices: tuple[int, ...]
    by_limit: bool

    @property
    def words(self) -> tuple[str, ...]:
        """Options of an analysis that select these images."""
        if self.by_limit:
            return ("--data", self.source, "--limit", str(len(self.indices)))
        return ("--data", self.source, "--indices", ",".join(map(str, self.indices)))


def training_count(request: ReproductionRequest) -> int:
    """Number of training images that the data set has.

    Raises:
        DataError: there are none.
    """
    found = evaluated_images(request, training=True)
    whole = len(found.images)
    return whole if found.by_limit else whole - len(held_out_rows(whole))


def evaluated_images(request: ReproductionRequest, *, training: bool = False) -> Evaluated:
    """The first images of the test set; of a file without one, those that training holds out.

    Args:
        request: the reproduction.
        training: images of the training instead.

    Raises:
        DataError: there are no such images.
    """
    source, count = request.source, request.images
    path = Path(source).expanduser()
    if path.is_dir() and (path / "train").is_dir():
        test = next((path / part for part in ("test", "val") if (path / part).is_dir()), None)
        if test is not None:
            return _first(str(path / "train" if training else test), request, count)
    if not path.exists() and is_name(source) and source.lower() not in bundled():
        name = source.partition(":")[0]
        return _first(f"{name}:train" if training else name, request, count)
    images = _loaded(source, request)
    held_out = set(held_out_rows(len(images)).tolist())
    rows = [row for row in range(len(images)) if (row in held_out) != training]
    return Evaluated(source, images, tuple(rows[:count]), by_limit=False)


def _first(source: str, request: ReproductionRequest, count: int) -> Evaluated:
    images = _loaded(source, request)
    rows = tuple(range(min(count, len(images))))
    return Evaluated(source, images, rows, by_limit=True)


def _loaded(source: str, request: ReproductionRequest) -> ImageSet:
    """The images ``source``.

    Raises:
        DataError: they are not available, or have no labels.
    """
    try:
        images = load_images(source, root=request.data_root)
    except DataError as error:
        if request.own_data:
            raise
        hint = f"{error.hint}; or another data set: --data" if error.hint else "pass --data"
        message = f"{request.item.name} needs {source}: {error}"
        raise DataError(message, hint=hint) from error
    if images.labels is None:
        message = f"{images.name} has no labels, which a training needs"
        raise DataError(message)
    return images
