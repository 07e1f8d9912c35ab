"""Each attack of a run on its own: on every image, whatever the other attacks found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from . import suites
from .catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .search.budget import AttackBudget
    from .search.state import SearchState


def search_each(
    begin: Callable[[], SearchState],
    names: tuple[str, ...],
    budget: AttackBudget,
    *,
    reported: tuple[float, ...] = (),
) -> list[SearchState]:
    """The searches of the attacks ``names``, each as if the attack were the only one of its run.

    Args:
        begin: makes a search state on which nothing was searched yet.
        names: attacks.
        budget: computation of each.
        reported: radii within which attacks at a radius search first, pixel units.
    """
    found = []
    for name in names:
        state = begin()
        own = reported if CATALOGUE[name].at_radius else ()
        suites.run(state, (name,), budget, reported=own)
        found.append(state)
    return found


def merge(states: Sequence[SearchState]) -> SearchState:
    """The first of ``states``, now with the nearest images of all and the passes of all.

    Of equally near images that of the first state counts.
    """
    merged, *others = states
    for other in others:
        nearer = other.distance < merged.distance
        for at in nearer.nonzero().flatten().tolist():
            merged.attack_names[at] = other.attack_names[at]
        merged.x_adv[nearer] = other.x_adv[nearer]
        merged.prediction[nearer] = other.prediction[nearer]
        merged.distance = torch.minimum(merged.distance, other.distance)
        merged.target_distance = torch.minimum(merged.target_distance, other.target_distance)
        merged.n_forward += other.n_forward
        merged.n_backward += other.n_backward
        merged.n_lost += other.n_lost
    return merged
