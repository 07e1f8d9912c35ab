"""Searches at a given radius: which images take part, where they start, what is maximised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.numerics import per_row, random_start

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.numerics import Loss

    from .ascent import Start
    from .state import Score, SearchState


def radii(state: SearchState, epsilon: float | Tensor) -> Tensor:
    """One radius an image ``(b,)``."""
    return per_row(epsilon, state.batch.x).flatten()


def standing(state: SearchState, rows: Tensor, epsilon: Tensor) -> Tensor:
    """Those of ``rows`` that nothing found so far breaks within ``epsilon (b,)``."""
    return rows[~state.within(epsilon)[rows]]


def loss_score(state: SearchState, loss: Loss) -> Score:
    """What an untargeted attack climbs."""
    return lambda logits, rows: loss.of(logits, state.y(rows))


def random_starts(state: SearchState, epsilon: Tensor, name: str, block: int) -> Start:
    """Uniform points of the balls of ``epsilon (b,)``, from each image's stream of that name."""

    def start(rows: Tensor) -> Tensor:
        return random_start(
            state.batch.index[rows.cpu().numpy()],
            state.x(rows),
            norm=state.norm,
            epsilon=epsilon[rows],
            seed=state.seed,
            stream=f"attack/{name}",
            block=block,
        )

    return start
