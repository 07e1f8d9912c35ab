"""Attacks at a radius: at given ones, or at the smallest that succeeds, found by bisection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .hunt import Hunt, box_diameter
from .pgd import standing

RadiusAttack = Callable[[Hunt, Tensor, Tensor, int], None]
"""(hunt, rows, radii ``(b,)``, block of the random streams): search within those radii."""

OCTAVES = 14
"""The radii run from the box's diameter down to its 2^-14th part."""

HALVINGS = 11
"""Bisections of that range: the radii come to lie within 0.7 % of each other."""


def bisect(hunt: Hunt, attack: RadiusAttack, *, halvings: int = HALVINGS) -> None:
    """Run ``attack`` at radii that close in on the smallest at which each image breaks.

    The radii are bisected on a logarithmic grid that is the same for all images. A radius beyond
    the nearest image that is known already counts as broken and costs nothing. What is found at
    the end is shrunk towards the clean image.
    """
    rows, before = hunt.correct, hunt.distance.clone()
    top = box_diameter(hunt.norm, tuple(hunt.batch.x.shape[1:]))
    low = torch.full((len(hunt.batch),), -float(OCTAVES), dtype=torch.float64, device=rows.device)
    high = torch.zeros_like(low)
    for block in range(halvings):
        middle = (low + high) / 2
        radius = (top * 2**middle).to(hunt.batch.x.dtype)
        todo = standing(hunt, rows, radius)
        if len(todo):
            attack(hunt, todo, radius, block)
        broken = hunt.within(radius)
        low, high = torch.where(broken, low, middle), torch.where(broken, middle, high)
    nearer = rows[hunt.distance[rows] < before[rows]]
    hunt.settle(nearer, hunt.x_adv[nearer])


def at_radii(hunt: Hunt, attack: RadiusAttack, radii: tuple[float, ...]) -> None:
    """Run ``attack`` at each of ``radii`` (pixel units), smallest first, on what still stands.

    The accuracy at those radii is the attack's own; distances in between are not looked for.
    """
    for block, epsilon in enumerate(sorted(radii)):
        radius = torch.full_like(hunt.distance, epsilon).to(hunt.batch.x.dtype)
        todo = standing(hunt, hunt.correct, radius)
        if len(todo):
            attack(hunt, todo, radius, block)
