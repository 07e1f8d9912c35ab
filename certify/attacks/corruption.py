"""`robcert corruption`: accuracy under random changes of given strength.

Two numbers per strength. *Measured*: accuracy on one random draw per image, as papers count (Ma,
Faghri, Farahmand 2020, arXiv:2004.01832, Tables 6 and 7). *Attacked*: the worst of k draws
(Engstrom et al. 2019, arXiv:1712.02779): an image counts as misclassified if it is itself
misclassified or one of its draws is. Neither has an epsilon: a motion is not small in any norm of
pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import torch

from robcert.certify.errors import InvalidParameterError, require_at_least, require_positive
from robcert.certify.numerics import generator
from robcert.certify.stats import Proportion, proportion
from robcert.certify.store import plain

from .black_box.spatial import transformed, unit_motions
from .schema import CORRUPTION
from .search.state import adversarial
from .settings import NO_CLASS_IS
from .summary import LEVEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import ResultStore

    Strength = tuple[float, ...]


class Change(StrEnum):
    """How an image is changed."""

    SPATIAL = "spatial"
    GAUSSIAN = "gaussian"


@dataclass(frozen=True, slots=True)
class CorruptionSettings:
    """Settings that the rows depend on.

    Attributes:
        change: how images are changed.
        strengths: spatial: (largest rotation in degrees, largest shift as a share of the side);
            gaussian: (standard deviation in pixel units,).
        draws: number k of draws at each strength; the first alone gives the measured accuracy.
        clip: clip noisy pixels to [0, 1]. Off by default: the papers do not state whether they do.
        no_class: what an image counts for whose scores are NaN.
    """

    change: Change = Change.SPATIAL
    strengths: tuple[Strength, ...] = ((10.0, 0.05), (30.0, 0.1), (50.0, 0.3))
    draws: int = 10
    clip: bool = False
    no_class: str = NO_CLASS_IS

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_at_least("draws", self.draws, 1)
        require_at_least("number of strengths", len(self.strengths), 1)
        for strength in self.strengths:
            _require_sensible(self.change, strength)


def _require_sensible(change: Change, strength: Strength) -> None:
    if change is Change.GAUSSIAN:
        require_positive("standard deviation of the noise", strength[0])
        return
    degrees, shift = strength
    if not (0 <= degrees <= 180 and 0 <= shift <= 1 and degrees + shift > 0):
        message = (
            f"a motion rotates by up to 180 degrees and shifts by up to 1 side, got {strength}"
        )
        raise InvalidParameterError(message, hint="30,0.1 is 30 degrees and a tenth of the side")


def analyse(session: Session, settings: CorruptionSettings) -> str:
    """Path of the table with the number of misclassified draws at each strength.

    Rows that already exist are kept.
    """
    group = session.store.group(
        CORRUPTION,
        prefix=str(settings.change),
        settings=settings,
        seed=session.seed,
        sizes={"strength": len(settings.strengths)},
    )
    session.fill(group, str(settings.change), lambda batch: _rows(session, batch, settings))
    return group.path


def _rows(session: Session, batch: Batch, settings: CorruptionSettings) -> Columns:
    classifier = session.classifier
    wrong = torch.zeros(len(batch), len(settings.strengths), dtype=torch.int32)
    first = torch.zeros_like(wrong, dtype=torch.int8)
    with classifier.forward_only():
        clean = adversarial(classifier.logits(batch.x), batch.y)
        for draw, changes in enumerate(_changed(batch, settings, session.seed)):
            for at, x in enumerate(changes):
                missed = adversarial(classifier.logits(x), batch.y).cpu()
                wrong[:, at] += missed
                if draw == 0:
                    first[:, at] = missed
    return {
        "correct": (~clean).to(torch.int8).cpu().numpy(),
        "first_wrong": first.numpy(),
        "wrong": wrong.numpy(),
    }


def _changed(batch: Batch, settings: CorruptionSettings, seed: int) -> Iterator[Iterator[Tensor]]:
    """For each draw, the images ``(b, c, h, w)`` at each strength.

    The same draw, scaled by the strength, is used for all strengths, so that they are comparable.
    """
    if settings.change is Change.SPATIAL:
        motions = unit_motions(batch.index, settings.draws, seed).to(batch.x)
        for motion in motions.unbind(1):
            yield (
                transformed(batch.x, motion[:, 0] * degrees, motion[:, 1:] * shift)
                for degrees, shift in settings.strengths
            )
        return
    for draw in range(settings.draws):
        noise = torch.stack(
            [_normal(tuple(batch.x.shape[1:]), seed, int(i), draw) for i in batch.index]
        )
        noisy = (batch.x + sigma * noise.to(batch.x) for (sigma,) in settings.strengths)
        yield (x.clamp(0, 1) for x in noisy) if settings.clip else noisy


def _normal(shape: tuple[int, ...], seed: int, index: int, draw: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "corruption/gaussian", index, draw))


@dataclass(frozen=True, slots=True)
class StrengthResult:
    """Accuracy at one strength.

    Attributes:
        strength: as in the settings.
        one_draw: share correct on one random draw, with its 95 % interval; measured.
        mean: share of all draws of all images that are classified correctly.
        worst: share correct on the image and on all k draws, with its interval; attacked.
    """

    strength: Strength
    one_draw: Proportion
    mean: float
    worst: Proportion


@dataclass(frozen=True, slots=True)
class CorruptionSummary:
    """Accuracy under random changes.

    Attributes:
        change: how images were changed.
        draws: number of draws k.
        clip: whether noisy pixels were clipped to [0, 1].
        n: number of images.
        clean_accuracy: accuracy on the unchanged images.
        accuracy: one entry per strength.
        complete: whether every selected image has its row.
    """

    change: str
    draws: int
    clip: bool
    n: int
    clean_accuracy: Proportion
    accuracy: tuple[StrengthResult, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(asdict(self)))


def summarise(store: ResultStore, key: str) -> CorruptionSummary:
    """Summary of the table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    correct = group.column("correct", indices) == 1
    first = group.column("first_wrong", indices) == 1
    wrong = group.column("wrong", indices)
    draws = int(group.settings["draws"])

    def share(right: NDArray[np.bool_]) -> Proportion:
        return proportion(int(right.sum()), len(right), level=LEVEL)

    results = tuple(
        StrengthResult(
            strength=tuple(strength),
            one_draw=share(~first[:, at]),
            mean=float(1 - wrong[:, at].mean() / draws) if len(indices) else float("nan"),
            worst=share(correct & (wrong[:, at] == 0)),
        )
        for at, strength in enumerate(group.settings["strengths"])
    )
    return CorruptionSummary(
        change=str(group.settings["change"]),
        draws=draws,
        clip=bool(group.settings["clip"]),
        n=len(indices),
        clean_accuracy=share(correct),
        accuracy=results,
        complete=group.complete,
    )
