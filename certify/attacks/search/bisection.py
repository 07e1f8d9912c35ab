"""Attacks at a radius: at given radii, or at the smallest that succeeds, found by bisection."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .boundary_tangents import nearest_class_boundary
from .radius import RadiusTask
from .state import box_diameter

if TYPE_CHECKING:
    from .state import SearchState

RadiusAttack = Callable[["SearchState", RadiusTask], None]
"""An attack at a radius: searches within the radii of a task and reports to the state."""

HALVINGS = 7
"""Bisections of an octave: the last two radii are within 0.6 % of each other."""

_FIRST = -7.0  # octaves below the box's diameter: first radius where there is no tangent
_BEYOND = 0.25  # octaves: the first radius lies this much beyond the tangent
_STRIDE = 0.5  # octaves; doubled until the smallest radius lies between two that were tried
_LONGEST = 1.0  # longest stride outwards: far out, gradients mean less and a radius could be missed
_LEAST = -40.0  # octaves; float32 pixels cannot resolve smaller distances


@dataclass(frozen=True, slots=True)
class Targets:
    """Which target classes a gradient attack considers in its search for the smallest radius.

    Attributes:
        classes: number of classes, those with the largest clean logits.
        towards: makes the attack towards the target classes ``(b,)``; None: there is none.
    """

    classes: int
    towards: Callable[[Tensor], RadiusAttack] | None = None


def bisect(
    state: SearchState,
    attack: RadiusAttack,
    *,
    halvings: int = HALVINGS,
    targets: Targets | None = None,
) -> None:
    r"""Run ``attack`` at radii that converge to the smallest one at which it breaks each image.

    The first radius is a little larger than the distance by the tangents at the clean image.
    Strides of doubling length lead to one radius that breaks the image and one that does not;
    bisection on a logarithmic scale then ends at two radii :math:`2^{2^{-h}}` apart, h being the
    ``halvings``. Where an adversarial example is already known, the first radius lies one such
    factor below its distance, and the search ends if nothing is found there. What is found is
    shrunk towards the clean image.

    An untargeted ascent can end in a class that is not the nearest, even on a linear model. If
    ``targets`` has a targeted attack, an image whose nearest class boundary, by the tangents, is
    nearer than what was found is searched once more, towards that class.
    """
    rows, distance = state.correct, torch.full_like(state.distance, torch.inf)
    if targets is not None:
        nearest, distance = nearest_class_boundary(state, rows, targets.classes)
    _narrow_down(state, rows, attack, distance, halvings)
    if targets is not None and targets.towards is not None:
        beyond = distance[rows] < state.distance[rows] * 2 ** -(2.0**-halvings)
        _narrow_down(state, rows[beyond], targets.towards(nearest), distance, halvings)


def at_radii(
    state: SearchState,
    attack: RadiusAttack,
    epsilons: tuple[float, ...],
    *,
    every_image: bool = False,
) -> None:
    """Run ``attack`` at each of ``epsilons`` (pixel units), smallest first, on surviving images.

    The accuracy at those radii is the attack's own; distances in between are not determined.

    Args:
        state: the search.
        attack: the attack.
        epsilons: the radii.
        every_image: on all images, whatever was found before and whether or not they are classified
            as y; for an attack with an aim of its own.
    """
    for epsilon in sorted(epsilons):
        radius = torch.full_like(state.distance, epsilon).to(state.batch.x.dtype)
        rows = state.all_rows if every_image else state.correct
        task = RadiusTask.within(state, rows, radius, radius_block(epsilon))
        if not every_image:
            task = task.surviving(state)
        if every_image or len(task.rows):
            attack(state, task)


def radius_block(epsilon: float) -> int:
    """Number of the random streams of a search at the radius ``epsilon``.

    It is made of the radius alone, so that a search does not depend on which other radii are given.
    """
    return int.from_bytes(struct.pack(">d", epsilon), "big")


def _narrow_down(
    state: SearchState, rows: Tensor, attack: RadiusAttack, tangent: Tensor, halvings: int
) -> None:
    """Bisection for some rows; ``tangent (b,)`` are distances to start at, inf for none."""
    before, bracket, block = state.distance.clone(), _Bracket(state, tangent, 2.0**-halvings), 0
    while len(going := rows[bracket.unfinished()[rows]]):
        radius = bracket.radius()
        task = RadiusTask.within(state, going, radius, block).surviving(state)
        if len(task.rows):
            attack(state, task)
        survived = None if state.grid is None else state.equivalent(radius)
        bracket.narrow(going, state.within(radius), state.distance, survived)
        block += 1
    nearer = rows[state.distance[rows] < before[rows]]
    state.shrink_and_verify(nearer, state.x_adv[nearer])


class _Bracket:
    """Radii of every image, in octaves relative to the box's diameter ``(b,)``.

    Attributes:
        low: the largest radius at which the image survived, -inf at first.
        high: the smallest radius at which it is broken, inf where none is known.
        next: the radius to try next.
    """

    def __init__(self, state: SearchState, tangent: Tensor, width: float) -> None:
        self._top, self._width = box_diameter(state.norm, tuple(state.batch.x.shape[1:])), width
        self._dtype = state.batch.x.dtype
        first = (self._octaves(tangent) + _BEYOND).clamp(_LEAST, 0)
        first = torch.where(tangent.isfinite(), first, _FIRST)
        self.high = self._octaves(state.distance)
        self.low = torch.full_like(self.high, -torch.inf)
        self.next = torch.where(self.high.isfinite(), self.high - width, first)
        self._stride = torch.full_like(self.high, _STRIDE)

    def unfinished(self) -> Tensor:
        """Which images need further radii ``(b,)``."""
        apart = self.high - self.low > 1.01 * self._width
        return apart & (self.low < 0) & (self.high > _LEAST)

    def radius(self) -> Tensor:
        """Radii to try next ``(b,)``, in pixel units."""
        return (self._top * 2**self.next).to(self._dtype)

    def narrow(
        self, rows: Tensor, broken: Tensor, distance: Tensor, survived: Tensor | None = None
    ) -> None:
        """Update with which of ``rows`` are ``broken (b,)``, and at what ``distance (b,)``.

        ``survived (b,)`` are the radii within which nothing was found if not those tried.
        """
        tried, broken = self.next[rows], broken[rows]
        least = tried if survived is None else self._octaves(survived)[rows]
        found = torch.minimum(self._octaves(distance)[rows], tried)
        low = self.low[rows] = torch.where(broken, self.low[rows], least)
        high = self.high[rows] = torch.where(broken, found, self.high[rows])
        stride = self._stride[rows]
        inwards, outwards = high - stride, (low + stride.clamp_max(_LONGEST)).clamp_max(0)
        between = low.isfinite() & high.isfinite()
        strided = torch.where(high.isfinite(), inwards, outwards)
        self.next[rows] = torch.where(between, (low + high) / 2, strided)
        self._stride[rows] = torch.where(between, stride, 2 * stride)

    def _octaves(self, distance: Tensor) -> Tensor:
        return torch.log2(distance / self._top)
