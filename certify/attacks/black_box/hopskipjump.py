r"""HopSkipJump (Chen, Jordan, Wainwright 2020, arXiv:1904.02144, Algorithm 2): labels only.

At a point on the boundary the direction in which the label changes is estimated from labels alone,

.. math:: \widehat{\nabla S} = \frac{1}{B - 1} \sum_b (\phi_b - \bar\phi) u_b,
          \qquad \phi_b = \phi(x_t + \delta_t u_b) \in \{-1, 1\}

(their equations 12 and 16, u uniform on the sphere), then a step of geometric size goes along it
and bisection returns to the boundary. Departures from the paper: bisection stops at 2^-16 of the
segment, the resolution of float32 pixels, because for large images their thresholds (d^-3/2 and
d^-2) are smaller; the first number of draws can be set, because their 100 leave a short search no
steps; and where no adversarial image is known, walks start in several classes and a short first
jump shows which are near.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.numerics import generator, per_row

from ..search.adversarial_starts import MORE_TRIES, adversarial_starts, start_class_count
from ..search.radius import RadiusTask
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

FIRST_DRAWS = 100
"""Draws of the first estimate; the t-th estimate takes sqrt(t) times as many."""

NORMS = (Norm.L2, Norm.LINF)

_FIRST_SAMPLING_RADIUS = 0.1  # share of the pixel range, before a distance is known
_LEAST_SAMPLING_RADIUS = 1e-4  # near the resolution of float32 pixels
_MOST_HALVINGS = 16
_CHOICE_DRAWS = 0.3  # share of the first draws where several walks jump
_BEHIND = {Norm.L2: (4.0, 1.5, 1.15, 1.0), Norm.LINF: (2.5, 1.5, 1.15, 1.0)}
"""Walks farther than this times the best one pause, by jump.

Chosen in l2 on linear models of four classes, in linf on the comparison with foolbox.
"""


def hopskipjump(
    classifier: Classifier,
    batch: Batch,
    ball: Ball | Norm,
    *,
    queries: int = 2000,
    first_draws: int = FIRST_DRAWS,
    seed: int = 0,
) -> Found:
    """Adversarial images that HopSkipJump finds with labels only.

    Args:
        classifier: the model.
        batch: images.
        ball: where to search: an image is done once an adversarial image lies in its ball, and
            ``found`` refers to the ball. A norm alone: the nearest adversarial image is searched
            for, at any distance.
        queries: forward passes per image, besides the search for a start.
        first_draws: see :data:`FIRST_DRAWS`.
        seed: seed of the random numbers, which come from each image's own stream.

    Raises:
        InvalidParameterError: the norm is l1, which the method does not have.
    """
    norm = ball if isinstance(ball, Norm) else ball.norm
    if norm not in NORMS:
        message = f"HopSkipJump has the norms {' and '.join(NORMS)}, not {norm}"
        raise InvalidParameterError(message)
    state = SearchState(classifier, batch, norm, seed)
    within = None if isinstance(ball, Norm) else RadiusTask.of_ball(state, ball).epsilon
    run_hopskipjump(state, state.correct, queries=queries, epsilon=within, first_draws=first_draws)
    found = state.result()
    return found if within is None else replace(found, found=state.within(within))


def run_hopskipjump(
    state: SearchState,
    rows: Tensor,
    *,
    queries: int,
    epsilon: Tensor | None = None,
    first_draws: int = FIRST_DRAWS,
) -> None:
    """The search, from the nearest known adversarial example, else from noise.

    A walk ends at the nearest point of one class boundary. So where no adversarial image was known
    a walk starts in every other class, or in three of many; after each jump the walks that are far
    behind the nearest one pause. For an image without any start nothing is found. With ``epsilon
    (b,)`` the search of an image ends once an adversarial image lies within that radius.
    """
    known, behind = state.distance[rows].isfinite(), _BEHIND[state.norm]
    for some, classes in ((rows[known], 1), (rows[~known], start_class_count(state))):
        starts = adversarial_starts(state, some, most=classes)
        spent = torch.full_like(state.n_forward, MORE_TRIES if classes > 1 else 0)
        walks = [
            _Walk(state, *_unbroken(state, start, epsilon), queries, spent, block)
            for block, start in enumerate(starts)
        ]
        step = 0
        while any(len(walk.rows) for walk in walks):
            step += 1
            share = _CHOICE_DRAWS if step == 1 and classes > 1 else math.sqrt(step)
            draws = math.ceil(share * first_draws)
            nearest = torch.stack([walk.lengths() for walk in walks]).amin(0)
            within = behind[min(step, len(behind)) - 1] * nearest
            for walk in walks:
                walk.keep(walk.lengths()[walk.rows] <= within[walk.rows])
                walk.keep(spent[walk.rows] + draws + 2 <= queries)
                if epsilon is not None:
                    walk.keep(~state.within(epsilon)[walk.rows])
                if len(walk.rows):
                    walk.jump(step, draws)


def _unbroken(
    state: SearchState, start: tuple[Tensor, Tensor], epsilon: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Those of the rows and images without an adversarial image within ``epsilon (b,)``."""
    if epsilon is None:
        return start
    rows, images = start
    going = ~state.within(epsilon)[rows]
    return rows[going], images[going]


class _Walk:
    """A point on the boundary for each image of a search.

    ``spent (b,)`` counts the queries of all walks of an image.
    """

    def __init__(
        self,
        state: SearchState,
        rows: Tensor,
        points: Tensor,
        queries: int,
        spent: Tensor,
        block: int,
    ) -> None:
        self._state, self.rows, self.points = state, rows, points
        self._queries, self._spent = queries, spent
        self._least_sampling_radius = _LEAST_SAMPLING_RADIUS
        if state.grid is not None:  # smaller changes than a level would be rounded away
            level, pixels = state.grid.step, state.batch.x.shape[1:].numel()
            self._least_sampling_radius = level * math.sqrt(pixels)
        self._streams = [
            generator(state.seed, "attack/hopskipjump", int(index), block)
            for index in state.batch.index[rows.cpu().numpy()]
        ]
        if len(rows):
            self._to_boundary()

    def keep(self, going: Tensor) -> None:
        self._streams = [s for s, on in zip(self._streams, going.tolist(), strict=True) if on]
        self.rows, self.points = self.rows[going], self.points[going]

    def lengths(self) -> Tensor:
        """Distances of the walk from its images, inf for other rows ``(b,)``."""
        lengths = torch.full_like(self._state.distance, torch.inf)
        lengths[self.rows] = self._distance().double()
        return lengths

    def jump(self, step: int, draws: int) -> None:
        """One step along the estimated slope and back to the boundary; the state verifies it."""
        before, distance = self.points, self._distance()
        sampling_radius = torch.full_like(distance, _FIRST_SAMPLING_RADIUS)
        if step > 1:
            sampling_radius = distance / self._state.batch.x[0].numel()
        slope = self._slope(draws, sampling_radius.clamp_min(self._least_sampling_radius))
        direction = slope.sign() if self._state.norm is Norm.LINF else slope
        self.points = self._forward(before, direction, distance / math.sqrt(step))
        self._to_boundary()

    def _distance(self) -> Tensor:
        return self._state.norm.of(self.points - self._state.x(self.rows))

    def _hits(self, x: Tensor, some: Tensor | None = None) -> Tensor:
        """Which of ``x`` are adversarial, for all images of the walk or ``some`` of them."""
        rows = self.rows if some is None else self.rows[some]
        self._spent[rows] += 1
        return adversarial(self._state.logits(rows, x), self._state.y(rows))

    def _slope(self, draws: int, sampling_radius: Tensor) -> Tensor:
        """Estimated direction of more adversarial labels ``(r, c, h, w)``, of l2 length one."""
        signed, plain = torch.zeros_like(self.points), torch.zeros_like(self.points)
        answers = torch.zeros_like(sampling_radius)
        for _ in range(draws):
            point = (self.points + self._unit() * per_row(sampling_radius, self.points)).clamp(0, 1)
            unit = (point - self.points) / per_row(sampling_radius, self.points)
            phi = self._hits(point).to(sampling_radius) * 2 - 1
            signed, plain, answers = signed + per_row(phi, unit) * unit, plain + unit, answers + phi
        mean = answers / draws
        # where all labels agree, the direction is to or from the mean draw
        baseline = torch.where(mean.abs() == 1, 0.0, mean)
        slope = signed - per_row(baseline, plain) * plain
        return slope / per_row(Norm.L2.of(slope).clamp_min(1e-12), slope)

    def _unit(self) -> Tensor:
        """One point of the l2 sphere for each image, from its own stream."""
        shape = tuple(self.points.shape[1:])
        if self._state.norm is Norm.LINF:
            drawn = [torch.rand(shape, generator=s) * 2 - 1 for s in self._streams]
        else:
            drawn = [torch.randn(shape, generator=s) for s in self._streams]
        noise = torch.stack(drawn).to(self.points)
        return noise / per_row(Norm.L2.of(noise), noise)

    def _forward(self, before: Tensor, direction: Tensor, size: Tensor) -> Tensor:
        """Points after the longest of the halved steps that stays adversarial, else no step."""
        farthest, remaining = before.clone(), torch.ones_like(self.rows, dtype=torch.bool)
        for _ in range(_MOST_HALVINGS):
            some = (remaining & (self._spent[self.rows] < self._queries)).nonzero().flatten()
            if not len(some):
                break
            step = direction[some] * per_row(size[some], direction[some])
            point = (before[some] + step).clamp(0, 1)
            hit = self._hits(point, some)
            farthest[some[hit]] = point[hit]
            remaining[some[hit]] = False
            size = size / 2
        return farthest

    def _to_boundary(self) -> None:
        """Bisect between each adversarial point and its image; verify the adversarial end."""
        x, outer = self._state.x(self.rows), self.points
        low, high = torch.zeros_like(self._distance()), torch.ones_like(self._distance())
        for _ in range(_halvings(self._state.norm, x[0].numel())):
            some = (self._spent[self.rows] < self._queries).nonzero().flatten()
            if not len(some):
                break
            middle = (low + high)[some] / 2
            hit = self._hits(self._between(x[some], outer[some], middle), some)
            high[some[hit]], low[some[~hit]] = middle[hit], middle[~hit]
        self.points = self._between(x, outer, high)
        self._spent[self.rows] += 1
        self._state.verify_candidates(
            self.rows, self.points, self._state.logits(self.rows, self.points)
        )

    def _between(self, x: Tensor, outer: Tensor, share: Tensor) -> Tensor:
        """Points at ``share`` of the distance: on the segment in l2, clipped to a cube in linf.

        At 1 exactly ``outer``, without rounding.
        """
        part = per_row(share, x)
        if self._state.norm is Norm.L2:
            return torch.where(part < 1, x + (outer - x) * part, outer)
        reach = per_row(self._state.norm.of(outer - x), x) * part
        return torch.where(part < 1, torch.clamp(outer, x - reach, x + reach), outer)


def _halvings(norm: Norm, pixels: int) -> int:
    """Bisections down to the paper's threshold, or to the resolution of float32 pixels."""
    power = 1.5 if norm is Norm.L2 else 2.0
    return min(_MOST_HALVINGS, math.ceil(power * math.log2(max(pixels, 2))))
