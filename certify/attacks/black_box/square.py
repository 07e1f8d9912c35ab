"""Square attack (Andriushchenko, Croce, Flammarion, Hein 2020, arXiv:1912.00049): scores only.

linf as in their Algorithm 2. In l2 and l1 the proposals are squares of one sign each, added and
projected onto the ball; their own l2 version moves mass between two bump-shaped windows, which
takes fewer queries and uses the same information.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.numerics import Loss, generator, per_row, project

from ..search.radius import RadiusTask
from ..search.state import Found, SearchState

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

_SCHEDULE = ((0.001, 1), (0.005, 2), (0.02, 4), (0.05, 8), (0.1, 16), (0.2, 32), (0.4, 64))
"""(share of the queries, divisor of the square's area).

The area falls more slowly than in the paper's section 5, which is for 10,000 queries: 100 to 1000
queries suffice for large squares only.
"""

CAUTION = 3.0
"""Safety factor of early stopping: a search stops where this times its mean rise is too little."""

PATIENCE = 1 / 4
"""Share of the queries that are always spent."""

FIRST_SHARES = {Norm.LINF: 0.8, Norm.L2: 0.3, Norm.L1: 0.3}
"""Share of the image that the first squares cover; 0.8 is AutoAttack's in linf and in l2."""


@dataclass(frozen=True, slots=True)
class SquareConfig:
    """How the search is run.

    Attributes:
        queries: forward passes per image.
        first_share: share of the image that the first squares cover; None for
            :data:`FIRST_SHARES`.
        early_stopping: stop on an image whose margin would stay below 0 even if the remaining
            queries raised it three times as much on average as those so far.
    """

    queries: int = 500
    first_share: float | None = None
    early_stopping: bool = False


DEFAULT = SquareConfig()
"""500 queries, without early stopping."""


def square(
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    config: SquareConfig = DEFAULT,
    *,
    seed: int = 0,
) -> Found:
    """Adversarial images in the ball by random search with squares; scores of the runtime only.

    The squares come from each image's own stream of ``seed``.
    """
    state = SearchState(classifier, batch, ball.norm, seed)
    run_square(state, RadiusTask.of_ball(state, ball), config)
    return state.result()


def run_square(
    state: SearchState,
    task: RadiusTask,
    config: SquareConfig,
    *,
    initial_perturbation: Tensor | None = None,
) -> None:
    """Square attack on a search state.

    It starts at ``initial_perturbation (b, c, h, w)`` if given, else at random stripes.
    """
    queries, first_share = config.queries, config.first_share or FIRST_SHARES[state.norm]
    rows, epsilon = task.surviving(state).rows, task.epsilon
    x, radius = state.x(rows), epsilon[rows]
    draws = _Draws(state, rows, queries, task.block)
    if initial_perturbation is None:
        start = draws.stripes() * _height(state.norm, radius, x)
    else:
        start = initial_perturbation[rows]
    delta = project(start, state.norm, radius, x=x)
    best = torch.full_like(radius, -torch.inf)
    trial, first = delta, torch.full_like(radius, torch.nan)
    for query in range(queries):
        logits = state.logits(rows, x + trial)
        value = Loss.MARGIN.of(logits, state.y(rows))
        better = value > best
        best = torch.where(better, value, best)
        first = torch.where(first.isnan(), value, first)
        delta = torch.where(per_row(better.float(), trial) > 0, trial, delta)
        going = ~state.verify_candidates(rows, x + trial, logits, radius)
        if config.early_stopping and query > PATIENCE * queries:
            going &= ~(best + CAUTION * (best - first) * (queries / query - 1) < 0)
        rows, x, radius, best, first, delta = (
            values[going] for values in (rows, x, radius, best, first, delta)
        )
        draws.keep(going)
        if not len(rows):
            return
        side = _side(state, query / queries, first_share)
        window, sign = draws.window(query, side)
        height = _height(state.norm, radius, x)
        if state.norm is Norm.LINF:
            moved = torch.where(window, sign * height, delta)
        else:
            moved = delta + torch.where(window, sign * height * 4, 0.0)
        trial = project(moved, state.norm, radius, x=x)


def _side(state: SearchState, progress: float, first_share: float) -> int:
    """Side of the square by the schedule; ``progress`` is the share of the queries spent."""
    _, height, width = state.batch.x.shape[1:]
    divisor = 1
    for share, factor in _SCHEDULE:
        if progress > share:
            divisor = factor
    side = round((first_share / divisor * height * width) ** 0.5)
    return max(1, min(side, height, width))


def _height(norm: Norm, radius: Tensor, x: Tensor) -> Tensor:
    """Size of the entries of a perturbation equally large at every pixel ``(b, 1, 1, 1)``."""
    pixels = x[0].numel() if len(x) else 1
    share = {Norm.LINF: 1.0, Norm.L2: pixels**-0.5, Norm.L1: 1 / pixels}[norm]
    return per_row(radius * share, x)


class _Draws:
    """Random numbers of each image's search, all drawn in advance from the image's own stream."""

    def __init__(self, state: SearchState, rows: Tensor, queries: int, block: int) -> None:
        channels, self._height, self._width = state.batch.x.shape[1:]
        device = rows.device
        numbers, stripes = [], []
        for index in state.batch.index[rows.cpu().numpy()]:
            stream = generator(state.seed, "attack/square", int(index), block)
            numbers.append(torch.rand(queries, 2 + channels, generator=stream))
            stripes.append(torch.rand(channels, 1, self._width, generator=stream))
        empty = torch.zeros(0, queries, 2 + channels)
        self._numbers = (torch.stack(numbers) if numbers else empty).to(device)
        empty = torch.zeros(0, channels, 1, self._width)
        self._stripes = (torch.stack(stripes) if stripes else empty).to(device)

    def keep(self, going: Tensor) -> None:
        self._numbers = self._numbers[going]

    def stripes(self) -> Tensor:
        """Vertical stripes of random sign ``(b, c, h, w)``."""
        signs = self._stripes.lt(0.5).float() * 2 - 1
        return signs.expand(-1, -1, self._height, -1)

    def window(self, query: int, side: int) -> tuple[Tensor, Tensor]:
        """Mask of the square ``(b, 1, h, w)``, and its sign in each channel ``(b, c, 1, 1)``."""
        draw, device = self._numbers[:, query], self._numbers.device
        top = (draw[:, 0] * (self._height - side + 1)).floor().view(-1, 1, 1, 1)
        left = (draw[:, 1] * (self._width - side + 1)).floor().view(-1, 1, 1, 1)
        down = torch.arange(self._height, device=device).view(1, 1, -1, 1)
        right = torch.arange(self._width, device=device).view(1, 1, 1, -1)
        window = (down >= top) & (down < top + side) & (right >= left) & (right < left + side)
        return window, (draw[:, 2:].lt(0.5).float() * 2 - 1)[:, :, None, None]
