"""Attacks that look at no gradient and no loss: random points of the ball, and Gaussian noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.numerics import into_box, random_start

from ..search.radius import radii, standing
from ..search.state import Found, Hunt

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
    hunt = Hunt(classifier, batch, norm, seed)
    run_noise(hunt, hunt.correct, radii(hunt, epsilon), draws=draws)
    return hunt.result()


def run_noise(hunt: Hunt, rows: Tensor, epsilon: Tensor, *, draws: int, block: int = 0) -> None:
    """Noise search within a hunt; ``epsilon (b,)`` speaks of all rows of the batch."""
    for draw in range(draws):
        rows = standing(hunt, rows, epsilon)
        if not len(rows):
            return
        x = hunt.x(rows)
        delta = random_start(
            hunt.batch.index[rows.cpu().numpy()],
            x,
            norm=hunt.norm,
            epsilon=epsilon[rows],
            seed=hunt.seed,
            stream=f"attack/noise/{draw}",
            block=block,
        )
        point = x + into_box(delta, x)
        hunt.claim(rows, point, hunt.logits(rows, point))
