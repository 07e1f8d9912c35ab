"""Tasks of attacks within given radii: which images, which radii, where ascents start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robcert.certify.core import Ball
from robcert.certify.numerics import RandomStart, per_row

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.numerics import Loss

    from .ascent import InitialPerturbation
    from .state import Score, SearchState


@dataclass(frozen=True, slots=True)
class RadiusTask:
    """Search for adversarial examples of some images of a batch, each within its own radius.

    Attributes:
        rows: rows of the batch to attack ``(r,)``.
        epsilon: radii of all rows of the batch ``(b,)``, pixel units.
        block: number within the random streams; two searches on the same images have different
            blocks.
    """

    rows: Tensor
    epsilon: Tensor
    block: int = 0

    @classmethod
    def of_ball(cls, state: SearchState, ball: Ball) -> RadiusTask:
        """All correctly classified images of the batch within ``ball``."""
        return cls.within(state, state.correct, per_row(ball.epsilon, state.batch.x).flatten())

    @classmethod
    def within(cls, state: SearchState, rows: Tensor, radius: Tensor, block: int = 0) -> RadiusTask:
        """Those of ``rows`` for which ``radius (b,)`` holds other inputs, within what it holds."""
        if state.grid is None:
            return cls(rows, radius, block)
        radius = state.attainable(radius)
        return cls(rows[radius[rows] > 0], radius, block)

    def on(self, rows: Tensor) -> RadiusTask:
        """The same task on other ``rows``."""
        return replace(self, rows=rows)

    def surviving(self, state: SearchState) -> RadiusTask:
        """The task on those of its rows for which nothing was found within their radius yet."""
        return self.on(self.rows[~state.within(self.epsilon)[self.rows]])


def loss_score(state: SearchState, loss: Loss) -> Score:
    """The loss as the objective of an untargeted attack."""
    return lambda logits, rows: loss.of(logits, state.y(rows))


def random_points(state: SearchState, task: RadiusTask, name: str) -> InitialPerturbation:
    """Uniform points of the balls of ``task``, from each image's stream ``attack/{name}``."""
    source = RandomStart(state.seed, f"attack/{name}", task.block)

    def draw(rows: Tensor) -> Tensor:
        indices = state.batch.index[rows.cpu().numpy()]
        return source.draw(indices, state.x(rows), Ball(state.norm, task.epsilon[rows]))

    return draw
