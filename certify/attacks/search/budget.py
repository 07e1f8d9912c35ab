"""How much computation attacks spend."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttackBudget:
    """How much computation each attack of a run spends.

    Attributes:
        steps: gradient steps at one radius.
        restarts: runs at one radius, each on the images without a success so far.
        targets: other classes tried by targeted attacks: those with the largest clean logits.
        descent_steps: gradient steps of attacks that minimise the distance themselves.
        halvings: bisections of an octave of radii.
        queries: forward passes of a score-based attack at one radius.
        epsilons: radii at which attacks at a radius search, pixel units; empty: at the smallest
            that succeeds, found by bisection.
        near: the targeted Auto-PGD attacks only images whose nearest known adversarial image lies
            within this many radii, or that have none, and at given radii only; inf: every image,
            at any radius.
        early_stopping: PGD stops on images whose boundary it cannot reach.
        given_restarts: runs that the user requested, which replace those of an attack as a paper
            runs it; None for the paper's.
    """

    steps: int
    restarts: int
    targets: int
    descent_steps: int
    halvings: int
    queries: int
    epsilons: tuple[float, ...] = ()
    near: float = math.inf
    early_stopping: bool = True
    given_restarts: int | None = None
