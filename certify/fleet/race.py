"""A race: models are compared on more and more images, and those that are beaten stop.

Every model gets the images in the same random order. After each round, each pair is compared on the
images that both have, by an e-value that is valid however often it is computed. A model is beaten
by another when the e-value reaches (K - 1)/α for K models, so the best model is beaten by any of
the K - 1 others with probability at most α (Bonferroni).

Accuracy under attack is too high where gradients are masked, which only a whole audit tells. So
a model stays stopped only if one has beaten it that is audited and does not mask; otherwise it goes
on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robcert.certify.errors import require_open_unit
from robcert.certify.stats import sign_test_log_e_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Evaluate = Callable[[Mapping[int, int]], Mapping[int, "Survived"]]
    Finish = Callable[[list[int]], Iterable[int]]

Survived = NDArray[np.bool_]
"""Whether a model is right under attack on each image, in the order of the race."""

FIRST_IMAGES = 32
GROWTH = 1.5
"""Images of the first round, and images of each round in units of those of the one before."""


@dataclass(frozen=True, slots=True)
class Defeat:
    """The moment at which one model had beaten another.

    Attributes:
        by: number of the better model.
        images: images on which both were compared.
        wins: images on which the better one alone was right.
        losses: images on which the other one alone was right.
        log_e: logarithm of the e-value.
    """

    by: int
    images: int
    wins: int
    losses: int
    log_e: float


@dataclass(slots=True)
class Race:
    """The state of a race.

    Attributes:
        count: number of models.
        total: number of images.
        alpha: largest probability that the best model is stopped.
        survived: what each model has shown, by its number.
        defeats: for each model, by the number of the better one, the first defeat.
        finished: models that are audited on all images, and do not mask.
        out: models without a part in the race: they failed, or mask.
    """

    count: int
    total: int
    alpha: float
    survived: dict[int, Survived] = field(default_factory=dict)
    defeats: dict[int, dict[int, Defeat]] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    out: set[int] = field(default_factory=set)
    _compared_on: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_open_unit("alpha", self.alpha)

    def defeat(self, model: int) -> Defeat | None:
        """Why ``model`` is stopped: its earliest defeat that counts; None where it is not."""
        if model in self.finished | self.out:
            return None
        counted = self.finished or set(range(self.count)) - self.out
        found = [one for by, one in self.defeats.get(model, {}).items() if by in counted]
        return min(found, key=lambda one: (one.images, one.by), default=None)

    @property
    def running(self) -> list[int]:
        """Models that are neither stopped nor finished nor out."""
        done = self.finished | self.out
        return [one for one in range(self.count) if one not in done and not self.defeat(one)]

    def images(self, model: int) -> int:
        """Number of images that ``model`` has."""
        return len(self.survived.get(model, ()))

    @property
    def work(self) -> float:
        """Share of all models' images that were used."""
        used = sum(
            self.total if one in self.finished else self.images(one) for one in range(self.count)
        )
        return used / (self.count * self.total)

    def run(self, evaluate: Evaluate, finish: Finish) -> None:
        """Run the race to its end.

        Args:
            evaluate: for models and numbers of images, what each shows on the first so many images
                of the order; those that fail are missing.
            finish: audits models on all images; those that do not fail and do not mask.
        """
        while running := self.running:
            wanted = self._next_round(running)
            if wanted:
                self._evaluate(wanted, evaluate)
            else:
                valid = set(finish(running))
                self.finished |= valid
                self.out |= set(running) - valid
                missing = [one for one in self.finished if self.images(one) < self.total]
                if self.running and missing:
                    self._evaluate(dict.fromkeys(missing, self.total), evaluate)

    def _next_round(self, running: list[int]) -> dict[int, int]:
        """Models that need more images, with how many; none where they are to be audited."""
        if len(running) == 1 and not self.finished:
            return {}
        least = min(map(self.images, running))
        if least >= self.total:
            return {}
        number = max(FIRST_IMAGES, math.ceil(GROWTH * least))
        return {one: min(self.total, number) for one in running if self.images(one) < number}

    def _evaluate(self, wanted: dict[int, int], evaluate: Evaluate) -> None:
        found = evaluate(wanted)
        failed = set(wanted) - set(found)
        self.out |= failed
        self.finished -= failed
        self.survived |= found
        self._compare()

    def _compare(self) -> None:
        """Record the defeats among the models that have a part in the race."""
        able = [one for one in sorted(self.survived) if one not in self.out]
        threshold = math.log(max(1, self.count - 1) / self.alpha)
        for loser in able:
            known = self.defeats.setdefault(loser, {})
            for winner in able:
                images = min(self.images(loser), self.images(winner))
                same = self._compared_on.get((loser, winner)) == images
                if winner == loser or winner in known or same:
                    continue
                self._compared_on[loser, winner] = images
                found = _compared(self.survived[loser], self.survived[winner], winner)
                if found.log_e >= threshold:
                    known[winner] = found


def _compared(one: Survived, other: Survived, by: int) -> Defeat:
    """``one`` against ``other``, the model ``by``, on the images that both have."""
    images = min(len(one), len(other))
    wins = int((other[:images] & ~one[:images]).sum())
    losses = int((one[:images] & ~other[:images]).sum())
    return Defeat(by, images, wins, losses, sign_test_log_e_value(wins, losses))
