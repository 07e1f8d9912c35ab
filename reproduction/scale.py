"""What `--scale` shrinks: everything in proportion, never below stated minima."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError
from robcert.trainers.networks import channels_per_width, published_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.trainers.recipe import TrainConfig

LEAST_EPOCHS = 3
LEAST_TRAINING = 256
LEAST_IMAGES = 16
LEAST_CHANNELS = 8
"""Channels of a network's first stage."""
LEAST_BATCH = 32
BATCHES = 8
"""An epoch has at least this many steps; where its images do not suffice, batches are smaller."""

MINIMA = (
    f"never below {LEAST_EPOCHS} epochs, {LEAST_TRAINING} training images, {LEAST_IMAGES} "
    f"evaluated images, {LEAST_CHANNELS} channels in the first stage, batches of {LEAST_BATCH}, "
    "1 restart, 1000 draws, 30 blocks of 2"
)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A quantity that is smaller than in the paper, or changed with one that is.

    Attributes:
        quantity: what it is.
        where: model or analysis; empty for all.
        paper: value of the paper, or of the preset.
        ours: value here.
    """

    quantity: str
    where: str
    paper: str
    ours: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A factor in (0, 1].

    Attributes:
        factor: 1 for the paper's own numbers.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.factor <= 1:
            message = f"--scale must lie in (0, 1], got {self.factor:g}"
            raise InvalidParameterError(message, hint="1 is the paper's size, 0.02 a fiftieth")

    def of(self, count: int, least: int) -> int:
        """``count`` times the factor, at least ``least`` and at most ``count``.

        >>> Scale(0.1).of(110, 3), Scale(0.001).of(110, 3), Scale(0.1).of(2, 3)
        (11, 3, 2)
        """
        return min(count, max(least, round(self.factor * count)))

    def training(self, config: TrainConfig, images: int) -> TrainConfig:
        """``config`` on a share of ``images`` training images.

        Epochs shrink with warm-ups and milestones. The batch shrinks only where an epoch would have
        fewer than ``BATCHES`` steps.
        """
        if self.factor == 1:
            return config
        subset = self.of(images, LEAST_TRAINING)
        replays = config.objective.replays
        width = _width(self, config.architecture.name)
        return replace(
            config.lasting(self.of(config.epochs, max(LEAST_EPOCHS, replays))),
            subset=subset if subset < images else None,
            batch_size=min(config.batch_size, max(LEAST_BATCH, subset // BATCHES)),
            architecture=replace(config.architecture, width=width or config.architecture.width),
        )


def _width(scale: Scale, architecture: str) -> int | None:
    """Width of a shrunk network; None for the published one."""
    published = published_width(architecture)
    if published is None:
        return None
    least = -(-LEAST_CHANNELS // channels_per_width(architecture))
    width = scale.of(published, least)
    return width if width < published else None


def shrunk_training(
    name: str, paper: TrainConfig, ours: TrainConfig, images: tuple[int, int]
) -> Iterator[Shrunk]:
    """What ``ours`` has smaller than ``paper``, of the model ``name``.

    Args:
        name: the model.
        paper: its training in the paper.
        ours: its training here.
        images: training images of the paper, and those that there are here.
    """
    here = min(images[1], ours.subset or images[1])
    before_width, width = (
        config.architecture.width or published_width(config.architecture.name)
        for config in (paper, ours)
    )
    pairs: tuple[tuple[str, object, object], ...] = (
        ("epochs", paper.epochs, ours.epochs),
        ("epochs of warm-up", paper.objective.warmup, ours.objective.warmup),
        ("milestones", _listed(paper.schedule.milestones), _listed(ours.schedule.milestones)),
        ("width", before_width, width),
        ("training images", images[0], min(images[0], here)),
        ("images per step", paper.batch_size, ours.batch_size),
    )
    for quantity, before, after in pairs:
        if before != after:
            yield Shrunk(quantity, name, _text(before), _text(after))


def _listed(milestones: tuple[float, ...]) -> str:
    return ", ".join(f"{at:.4g}" for at in milestones) or "none"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
