"""Attacks at a radius: at given ones, or at the smallest that succeeds, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .boundary_tangents import nearest_class_boundary
from .radius import standing
from .state import box_diameter

if TYPE_CHECKING:
    from .state import SearchState

RadiusAttack = Callable[["SearchState", Tensor, Tensor, int], None]
"""(state, rows, radii ``(b,)``, block of the random streams): search within those radii."""

HALVINGS = 7
"""Bisections of an octave: the radii come to lie within 0.6 % of each other."""

_FIRST = -7.0  # octaves from the box's diameter, where no tangent says more
_BEYOND = 0.25  # octaves beyond the tangent, for the first look
_STRIDE = 0.5  # octaves; doubled until the smallest radius lies between two that were tried
_LONGEST = 1.0  # outwards: far from the image gradients mean less, and a radius must not be missed
_LEAST = -40.0  # octaves; float32 pixels tell nothing nearer apart


@dataclass(frozen=True, slots=True)
class Targets:
    """The faces of other classes, for an attack that looks at gradients.

    Attributes:
        classes: how many are looked at, those with the largest clean logits.
        towards: the attack towards given classes ``(b,)``.
    """

    classes: int
    towards: Callable[[Tensor], RadiusAttack] | None = None


def bisect(
    state: SearchState,
    attack: RadiusAttack,
    *,
    halvings: int = HALVINGS,
    faces: Targets | None = None,
) -> None:
    r"""Run ``attack`` at radii that close in on the smallest at which each image breaks.

    The first radius is a little more than the tangents at the clean image ask for. Longer and
    longer strides lead to a radius that breaks the image and one that does not, and bisection on a
    logarithmic scale from there to neighbours :math:`2^{2^{-h}}` apart, h the ``halvings``. Where
    an adversarial image is known already the first radius is the neighbour of its distance, and the
    search ends if nothing is found there. What is found is shrunk towards the clean image.

    An untargeted ascent can end in another class than the nearest, even on a linear model. So with
    ``faces`` that have an attack ``towards`` classes, an image whose nearest face lies, in the
    tangent, nearer than what was found is searched once more, towards that class.
    """
    rows, distance = state.correct, torch.full_like(state.distance, torch.inf)
    if faces is not None:
        nearest, distance = nearest_class_boundary(state, rows, faces.classes)
    _close_in(state, rows, attack, distance, halvings)
    if faces is not None and faces.towards is not None:
        beyond = distance[rows] < state.distance[rows] * 2 ** -(2.0**-halvings)
        _close_in(state, rows[beyond], faces.towards(nearest), distance, halvings)


def at_radii(state: SearchState, attack: RadiusAttack, radii: tuple[float, ...]) -> None:
    """Run ``attack`` at each of ``radii`` (pixel units), smallest first, on what still stands.

    The accuracy at those radii is the attack's own; distances in between are not looked for.
    """
    for block, epsilon in enumerate(sorted(radii)):
        radius = torch.full_like(state.distance, epsilon).to(state.batch.x.dtype)
        todo = standing(state, state.correct, radius)
        if len(todo):
            attack(state, todo, radius, block)


def _close_in(
    state: SearchState, rows: Tensor, attack: RadiusAttack, tangent: Tensor, halvings: int
) -> None:
    """Bisection of some rows; ``tangent (b,)`` are distances to begin at, inf for none."""
    before, bracket, block = state.distance.clone(), _Bracket(state, tangent, 2.0**-halvings), 0
    while len(going := rows[bracket.open()[rows]]):
        radius = bracket.radius()
        todo = standing(state, going, radius)
        if len(todo):
            attack(state, todo, radius, block)
        bracket.narrow(going, state.within(radius), state.distance)
        block += 1
    nearer = rows[state.distance[rows] < before[rows]]
    state.shrink_and_verify(nearer, state.x_adv[nearer])


class _Bracket:
    """Radii of every image, in octaves from the box's diameter ``(b,)``.

    Attributes:
        low: the largest at which the image stood, -inf at first.
        high: the smallest at which it is broken, inf where none is known.
        next: where to look next.
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

    def open(self) -> Tensor:
        """Which images are not done."""
        apart = self.high - self.low > 1.01 * self._width
        return apart & (self.low < 0) & (self.high > _LEAST)

    def radius(self) -> Tensor:
        """Radii to try, in pixel units."""
        return (self._top * 2**self.next).to(self._dtype)

    def narrow(self, rows: Tensor, broken: Tensor, distance: Tensor) -> None:
        """Take in which of ``rows`` broke (``broken (b,)``), and at what ``distance (b,)``."""
        tried, broken = self.next[rows], broken[rows]
        found = torch.minimum(self._octaves(distance)[rows], tried)
        low = self.low[rows] = torch.where(broken, self.low[rows], tried)
        high = self.high[rows] = torch.where(broken, found, self.high[rows])
        stride = self._stride[rows]
        inwards, outwards = high - stride, (low + stride.clamp_max(_LONGEST)).clamp_max(0)
        between = low.isfinite() & high.isfinite()
        strided = torch.where(high.isfinite(), inwards, outwards)
        self.next[rows] = torch.where(between, (low + high) / 2, strided)
        self._stride[rows] = torch.where(between, stride, 2 * stride)

    def _octaves(self, distance: Tensor) -> Tensor:
        return torch.log2(distance / self._top)
