"""Search by labels only: it needs neither gradients nor scores.

In linf the ray search of RayS (Chen & Gu 2020, arXiv:2006.12792, Algorithm 3): directions are
vertices of the cube, smaller and smaller blocks of signs are flipped, and a flip is kept if the
boundary is nearer along it. In l2 and l1 the Boundary attack, which moves in any direction.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.numerics import generator, per_row

from ..search.radius import RadiusTask
from ..search.state import Found, SearchState, adversarial
from .boundary import run_boundary

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

HALVINGS = 7
"""Bisections of the distance along a direction that is better than those before."""

BLOCKS = 7
"""Blocks per side of the random signs with which repeated searches begin."""

CHECKERBOARDS = (1, 2, 4)
"""First directions: white, black, and checkerboards with so many fields per side and their
negatives."""


def label_search(
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    *,
    queries: int = 300,
    restart: int = 0,
    seed: int = 0,
) -> Found:
    """Adversarial images that a search by labels finds; ``found`` refers to the ball.

    Args:
        classifier: the model.
        batch: images.
        ball: where to search.
        queries: forward passes by the runtime per image.
        restart: number of the run. In linf the first has no randomness; others begin with random
            signs of blocks of pixels.
        seed: seed of the walk, and of those signs.
    """
    state = SearchState(classifier, batch, ball.norm, seed)
    task = RadiusTask.of_ball(state, ball)
    if ball.norm is Norm.LINF:
        first = _random_signs(state, restart) if restart else None
        run_rays(state, task, queries=queries, first_directions=first)
    else:
        run_boundary(state, task.rows, queries=queries)
    return replace(state.result(), found=state.within(task.epsilon))


def run_rays(
    state: SearchState, task: RadiusTask, *, queries: int, first_directions: Tensor | None = None
) -> None:
    """RayS on a search state; it draws nothing.

    The directions ``first_directions (b, c, h, w)`` of signs are tried before the usual ones.
    """
    rows = task.rows
    if not len(rows):
        return
    rays = _Rays(state, task)
    given = [] if first_directions is None else [first_directions[rows]]
    for signs in given + _checkerboards(state, rows):
        rays.consider(signs[rays.at])
    blocks, block = 1, 0
    while len(rays.rows):
        rays.consider(_flipped(rays.signs, blocks, block))
        block += 1
        if block == blocks:
            blocks, block = min(2 * blocks, rays.signs.shape[1:].numel()), 0
        rays.keep(rays.spent < queries)


class _Rays:
    """The best direction of every image of the search and the boundary's distance along it."""

    def __init__(self, state: SearchState, task: RadiusTask) -> None:
        self._state, self._epsilon, rows = state, task.epsilon, task.rows
        self.rows, self.at = rows, torch.arange(len(rows), device=rows.device)
        self.signs = torch.ones_like(state.x(rows))
        self.radius = torch.ones(len(rows), device=rows.device)
        self.spent = torch.zeros_like(rows)

    def keep(self, going: Tensor) -> None:
        for name in ("rows", "at", "signs", "radius", "spent"):
            setattr(self, name, getattr(self, name)[going])

    def consider(self, signs: Tensor) -> None:
        """Adopt those ``signs`` along which the boundary is nearer; drop finished images."""
        if not len(self.rows):
            return
        better = self._hit(self.rows, signs, self.radius).nonzero().flatten()
        self.spent += 1
        if not len(better):
            return
        self.signs[better] = signs[better]
        self.radius[better] = self._boundary(better)
        self.spent[better] += HALVINGS
        done = torch.zeros_like(self.rows, dtype=torch.bool)
        done[better] = self._verify(better)
        self.keep(~done)

    def _boundary(self, some: Tensor) -> Tensor:
        """Distance of the boundary along the new directions of ``some``, from outside."""
        rows, signs = self.rows[some], self.signs[some]
        high = self.radius[some]
        # the radius of the task first: it decides most images that are near
        low = torch.zeros_like(high)
        middle = torch.minimum(self._epsilon[rows], high / 2)
        for _ in range(HALVINGS):
            hit = self._hit(rows, signs, middle)
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
            middle = (low + high) / 2
        return high

    def _verify(self, some: Tensor) -> Tensor:
        """Which of ``some`` the runtime confirms at a point within their radius."""
        rows = self.rows[some]
        near = self.radius[some] <= self._epsilon[rows]
        confirmed = torch.zeros_like(near)
        if near.any():
            rows = rows[near]
            point = self._point(rows, self.signs[some][near], self.radius[some][near])
            confirmed[near] = self._state.verify_candidates(
                rows, point, self._state.logits(rows, point), self._epsilon[rows]
            )
        return confirmed

    def _hit(self, rows: Tensor, signs: Tensor, radius: Tensor) -> Tensor:
        logits = self._state.logits(rows, self._point(rows, signs, radius))
        return adversarial(logits, self._state.y(rows))

    def _point(self, rows: Tensor, signs: Tensor, radius: Tensor) -> Tensor:
        x = self._state.x(rows)
        return (x + signs * per_row(radius, x)).clamp(0, 1)


def _random_signs(state: SearchState, restart: int) -> Tensor:
    """Random signs of blocks, the same in all channels ``(b, c, h, w)``."""
    channels, height, width = state.batch.x.shape[1:]
    down, right = (torch.arange(side) * min(BLOCKS, side) // side for side in (height, width))
    signs = []
    for index in state.batch.index:
        stream = generator(state.seed, "attack/label-search", int(index), restart)
        blocks = torch.rand(BLOCKS, BLOCKS, generator=stream).lt(0.5).float() * 2 - 1
        signs.append(blocks[down][:, right].expand(channels, height, width))
    return torch.stack(signs).to(state.batch.x)


def _checkerboards(state: SearchState, rows: Tensor) -> list[Tensor]:
    """First directions ``(r, c, h, w)``."""
    like = state.x(rows)
    height, width = like.shape[2:]
    down, right = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    boards = []
    for fields in CHECKERBOARDS:
        board = (down * fields // height + right * fields // width) % 2 * 2 - 1
        boards += [board, -board]
    return [board.to(like).expand_as(like) for board in boards]


def _flipped(signs: Tensor, blocks: int, block: int) -> Tensor:
    """``signs (r, c, h, w)`` with the sign changed in one of ``blocks`` runs of pixels."""
    flat = signs.flatten(1).clone()
    length = math.ceil(flat.shape[1] / blocks)
    flat[:, block * length : (block + 1) * length] *= -1
    return flat.view_as(signs)
