"""Searches at a given radius: which images take part, where they start, what is maximised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.numerics import per_row, random_start

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.numerics import Loss

    from .ascent import Start
    from .state import Hunt, Score


def radii(hunt: Hunt, epsilon: float | Tensor) -> Tensor:
    """One radius an image ``(b,)``."""
    return per_row(epsilon, hunt.batch.x).flatten()


def standing(hunt: Hunt, rows: Tensor, epsilon: Tensor) -> Tensor:
    """Those of ``rows`` that nothing found so far breaks within ``epsilon (b,)``."""
    return rows[~hunt.within(epsilon)[rows]]


def loss_score(hunt: Hunt, loss: Loss) -> Score:
    """What an untargeted attack climbs."""
    return lambda logits, rows: loss.of(logits, hunt.y(rows))


def random_starts(hunt: Hunt, epsilon: Tensor, name: str, block: int) -> Start:
    """Uniform points of the balls of ``epsilon (b,)``, from each image's stream of that name."""

    def start(rows: Tensor) -> Tensor:
        return random_start(
            hunt.batch.index[rows.cpu().numpy()],
            hunt.x(rows),
            norm=hunt.norm,
            epsilon=epsilon[rows],
            seed=hunt.seed,
            stream=f"attack/{name}",
            block=block,
        )

    return start
