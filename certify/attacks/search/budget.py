"""How much computation attacks spend."""

from __future__ import annotations

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
        early_stopping: PGD stops on images whose boundary it cannot reach.
    """

    steps: int
    restarts: int
    targets: int
    descent_steps: int
    halvings: int
    queries: int
    epsilons: tuple[float, ...] = ()
    early_stopping: bool = True
