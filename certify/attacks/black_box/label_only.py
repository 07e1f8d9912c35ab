"""Search that sees labels only: it needs neither a gradient nor scores that change.

In linf the ray search of RayS (Chen & Gu 2020, arXiv:2006.12792, Algorithm 3): directions are
vertices of the cube, blocks of signs are flipped, finer and finer, and a flip is kept if the
boundary lies nearer along it. In l2 and l1 the Boundary walk, which moves in any direction.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import per_row

from ..search.radius import radii
from ..search.state import Found, SearchState, adversarial
from .boundary import run_boundary

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

HALVINGS = 7
"""Bisections of the distance along a direction that was found better."""

CHECKERBOARDS = (1, 2, 4)
"""First directions: white, black, and checkerboards of so many fields a side, both ways."""


def label_search(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    queries: int = 300,
    seed: int = 0,
) -> Found:
    """What a search by labels finds within ``epsilon`` (pixel units, one number or one an image).

    ``queries`` is the number of images that the runtime is asked about, for each image; ``found``
    speaks of the radius.
    """
    state = SearchState(classifier, batch, norm, seed)
    radius = radii(state, epsilon)
    if norm is Norm.LINF:
        run_rays(state, state.correct, radius, queries=queries)
    else:
        run_boundary(state, state.correct, queries=queries)
    return replace(state.result(), found=state.within(radius))


def run_rays(
    state: SearchState, rows: Tensor, epsilon: Tensor, *, queries: int, first: Tensor | None = None
) -> None:
    """RayS on a search state, for those of ``rows`` that stand at ``epsilon (b,)``; no randomness.

    Directions ``first (b, c, h, w)`` of signs are tried before the usual ones.
    """
    if not len(rows):
        return
    rays = _Rays(state, rows, epsilon)
    starts = [] if first is None else [first[rows]]
    for start in starts + _starts(state, rows):
        rays.consider(start[rays.at])
    blocks, block = 1, 0
    while len(rays.rows):
        rays.consider(_flipped(rays.signs, blocks, block))
        block += 1
        if block == blocks:
            blocks, block = min(2 * blocks, rays.signs.shape[1:].numel()), 0
        rays.keep(rays.spent < queries)


class _Rays:
    """The best direction of every image under search and the distance of the boundary along it."""

    def __init__(self, state: SearchState, rows: Tensor, epsilon: Tensor) -> None:
        self._state, self._epsilon = state, epsilon
        self.rows, self.at = rows, torch.arange(len(rows), device=rows.device)
        self.signs = torch.ones_like(state.x(rows))
        self.radius = torch.ones(len(rows), device=rows.device)
        self.spent = torch.zeros_like(rows)

    def keep(self, going: Tensor) -> None:
        for name in ("rows", "at", "signs", "radius", "spent"):
            setattr(self, name, getattr(self, name)[going])

    def consider(self, signs: Tensor) -> None:
        """Take over those of ``signs`` along which the boundary is nearer; drop who is done."""
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
        # the radius in question first: it settles most images that are near
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
        claimed = torch.zeros_like(near)
        if near.any():
            rows = rows[near]
            point = self._point(rows, self.signs[some][near], self.radius[some][near])
            claimed[near] = self._state.verify_candidates(
                rows, point, self._state.logits(rows, point)
            )
        return claimed

    def _hit(self, rows: Tensor, signs: Tensor, radius: Tensor) -> Tensor:
        logits = self._state.logits(rows, self._point(rows, signs, radius))
        return adversarial(logits, self._state.y(rows))

    def _point(self, rows: Tensor, signs: Tensor, radius: Tensor) -> Tensor:
        x = self._state.x(rows)
        return (x + signs * per_row(radius, x)).clamp(0, 1)


def _starts(state: SearchState, rows: Tensor) -> list[Tensor]:
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
