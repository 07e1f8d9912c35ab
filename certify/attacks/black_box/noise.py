"""Random points of the ball: an attack that uses neither gradient nor loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.numerics import into_box

from ..search.radius import RadiusTask, random_points
from ..search.state import Found, SearchState

if TYPE_CHECKING:
    from robcert.certify.core import Ball, Batch
    from robcert.certify.model import Classifier


def noise_search(
    classifier: Classifier, batch: Batch, ball: Ball, *, draws: int = 100, seed: int = 0
) -> Found:
    """For each image the first of ``draws`` uniform points of the ball that is misclassified."""
    state = SearchState(classifier, batch, ball.norm, seed)
    run_noise(state, RadiusTask.of_ball(state, ball), draws=draws)
    return state.result()


def run_noise(state: SearchState, task: RadiusTask, *, draws: int) -> None:
    """Noise search on a search state."""
    for draw in range(draws):
        task = task.surviving(state)
        if not len(task.rows):
            return
        x = state.x(task.rows)
        delta = random_points(state, task, f"noise/{draw}")(task.rows)
        point = x + into_box(delta, x)
        logits = state.logits(task.rows, point)
        state.verify_candidates(task.rows, point, logits, task.epsilon[task.rows])
