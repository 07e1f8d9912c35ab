"""Attacks that look at no gradient and no loss: random points of the ball, and Gaussian noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.numerics import into_box, random_start

from ..search.radius import radii, standing
from ..search.state import Found, SearchState

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.model import Classifier


def noise_search(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    draws: int = 100,
    seed: int = 0,
) -> Found:
    """The first of ``draws`` uniform points of the ball that the runtime misclassifies.

    ``epsilon`` is in pixel units, one number or one an image ``(b,)``.
    """
    state = SearchState(classifier, batch, norm, seed)
    run_noise(state, state.correct, radii(state, epsilon), draws=draws)
    return state.result()


def run_noise(
    state: SearchState, rows: Tensor, epsilon: Tensor, *, draws: int, block: int = 0
) -> None:
    """Noise search on a search state; ``epsilon (b,)`` speaks of all rows of the batch."""
    for draw in range(draws):
        rows = standing(state, rows, epsilon)
        if not len(rows):
            return
        x = state.x(rows)
        delta = random_start(
            state.batch.index[rows.cpu().numpy()],
            x,
            norm=state.norm,
            epsilon=epsilon[rows],
            seed=state.seed,
            stream=f"attack/noise/{draw}",
            block=block,
        )
        point = x + into_box(delta, x)
        state.verify_candidates(rows, point, state.logits(rows, point))
