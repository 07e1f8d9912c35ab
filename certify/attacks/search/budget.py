"""How hard attacks try."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttackBudget:
    """How hard each attack of a run tries.

    Attributes:
        steps: gradient steps at one radius.
        restarts: runs at one radius, on the images that still stand.
        targets: other classes tried by targeted attacks, those with the largest logits.
        descent_steps: gradient steps of attacks that look for the smallest distance themselves.
        halvings: bisections of an octave of radii.
        queries: forward passes of a score-based attack at one radius.
        radii: where attacks at a radius search, pixel units; none: at the smallest that succeeds.
        every_step: PGD takes all of its steps, also where the boundary is out of reach.
    """

    steps: int
    restarts: int
    targets: int
    descent_steps: int
    halvings: int
    queries: int
    radii: tuple[float, ...] = ()
    every_step: bool = False
