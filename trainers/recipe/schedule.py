"""Learning-rate schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from robcert.certify.errors import InvalidParameterError


@dataclass(frozen=True, slots=True)
class Schedule:
    """Factor of the learning rate as a function of the epoch.

    Attributes:
        kind: ``constant``; ``steps``: multiplied by ``decay`` at each milestone; ``cosine``: half a
            cosine from 1 to 0; ``onecycle``: linear from 0 to 1 over the first ``warmup`` of the
            training, then half a cosine from 1 to 0.
        milestones: epochs at which ``steps`` decays, in rising order.
        decay: factor at each milestone, in (0, 1].
        warmup: fraction of the training, in [0, 1), in which ``onecycle`` increases.
    """

    kind: Literal["constant", "steps", "cosine", "onecycle"] = "onecycle"
    milestones: tuple[float, ...] = ()
    decay: float = 0.1
    warmup: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            message = f"warmup must lie in [0, 1), got {self.warmup}"
            raise InvalidParameterError(message)
        if not 0 < self.decay <= 1:
            message = f"the factor at each milestone must lie in (0, 1], got {self.decay:g}"
            raise InvalidParameterError(message)
        if self.kind == "steps" and not self.milestones:
            message = "the schedule steps needs epochs at which the learning rate falls"
            raise InvalidParameterError(message, hint="--milestones 10,15, for instance")
        ends = (0.0, *self.milestones)
        if any(not before < after for before, after in pairwise(ends)):
            listed = ", ".join(f"{at:g}" for at in self.milestones)
            message = f"milestones must be epochs above 0 in rising order, got {listed}"
            raise InvalidParameterError(message)

    def stretched(self, factor: float) -> Schedule:
        """The schedule of a training ``factor`` times as long."""
        return replace(self, milestones=tuple(factor * at for at in self.milestones))

    def __call__(self, epoch: float, epochs: int) -> float:
        """Factor after ``epoch`` of ``epochs`` epochs (``epoch`` may have a fraction).

        >>> Schedule("steps", milestones=(100, 150))(120, 200)
        0.1
        """
        if self.kind == "constant":
            return 1.0
        if self.kind == "steps":
            return self.decay ** sum(epoch >= milestone for milestone in self.milestones)
        done = epoch / epochs
        warmup = self.warmup if self.kind == "onecycle" else 0.0
        if done < warmup:
            return done / warmup
        return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
