"""Boundary attack (Brendel, Rauber, Bethge 2018, arXiv:1712.04248): labels only, l2.

A random walk along the boundary on the adversarial side: a step along the sphere around the image,
then one towards it. It starts at the nearest adversarial image that is known, else at noise of
several classes, for a walk ends at the nearest point of one class only; an image without a start
stands, and the others go on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.ascent import normalised
from robcert.certify.core import Batch, Norm
from robcert.certify.projections import per_row
from robcert.certify.sampling import generator

from .hunt import Found, Hunt, adversarial
from .noise import starts

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier

_TARGET = 0.25  # share of proposals that should succeed; the paper's 50 % and 25 % in one
_MEMORY = 0.9  # weight of the past in the running share
_CHANGE = 1.1
_TRIED = 0.75  # share of the steps before one of several walks is chosen
_BEHIND = (math.inf, 2.0, 1.5, 1.3, 1.2, 1.1)  # a walk so many times as far as the best one rests


def boundary(classifier: Classifier, batch: Batch, *, queries: int = 2000, seed: int = 0) -> Found:
    """Nearest adversarial images in l2 that a walk of ``queries`` steps reaches."""
    hunt = Hunt(classifier, batch, Norm.L2, seed)
    run_boundary(hunt, hunt.correct, queries=queries)
    return hunt.result()


def run_boundary(hunt: Hunt, rows: Tensor, *, queries: int) -> None:
    """The walk within a hunt, ``queries`` steps an image beside the search for a start.

    Where no adversarial image was known, three quarters of the steps go to walks from images of
    several classes in equal shares, each within its class, and the rest to the one that came
    nearest, within any.
    """
    begun = starts(hunt, rows)
    if len(begun) == 1:
        walk = _Walk(hunt, *begun[0])
        walk.go(queries)
    else:
        tried = int(_TRIED * queries)
        walk = _nearest(hunt, begun, tried)
        walk.go(queries - tried)
    hunt.settle(walk.rows, walk.here)


def _nearest(hunt: Hunt, begun: list[tuple[Tensor, Tensor]], queries: int) -> _Walk:
    """After ``queries`` steps an image, of the walks from each of its starts the nearest.

    In every round the walks that are not far behind share the steps; each keeps to its class.
    """
    walks = [_Walk(hunt, rows, images, block) for block, (rows, images) in enumerate(begun)]
    classes = [walk.classes() for walk in walks]
    for behind in _BEHIND:
        lengths = torch.stack([walk.lengths() for walk in walks])
        going = lengths <= behind * lengths.amin(0)
        shares = queries // len(_BEHIND) // going.sum(0)
        for walk, among, goes in zip(walks, classes, going, strict=True):
            walk.go((shares * goes)[walk.rows], within=among)
    best = walks[0]
    for other in walks[1:]:
        best.take_nearer(other)
    return best


class _Walk:
    """Walks of some rows, each from its own stream of random numbers.

    One step size serves both moves: the step along the sphere, and its tenth towards the image; it
    grows by a tenth where more than a quarter of the proposals succeed and shrinks otherwise.
    """

    def __init__(self, hunt: Hunt, rows: Tensor, here: Tensor, block: int = 0) -> None:
        self._hunt, self.rows, self.here = hunt, rows, here
        self._streams = [
            generator(hunt.seed, "attack/boundary", int(index), block)
            for index in hunt.batch.index[rows.cpu().numpy()]
        ]
        self._size = torch.full((len(rows),), 0.3, device=rows.device)
        self._share = torch.full_like(self._size, _TARGET)

    def go(self, queries: int | Tensor, *, within: Tensor | None = None) -> None:
        """Walk so many steps, one number or one a row ``(r,)``; never leave the classes ``within``.

        ``within`` is one class a row ``(r,)``, or None for any but y.
        """
        steps = torch.as_tensor(queries, device=self.rows.device).expand(len(self.rows))
        for step in range(int(steps.max()) if len(steps) else 0):
            self._step((steps > step).nonzero().flatten(), within)

    def lengths(self) -> Tensor:
        """How far the walks are from their images, inf for other rows ``(b,)``."""
        lengths = torch.full_like(self._hunt.distance, torch.inf)
        lengths[self.rows] = Norm.L2.of(self.here - self._hunt.x(self.rows)).double()
        return lengths

    def classes(self) -> Tensor:
        """What the runtime says of where the walks are ``(r,)``."""
        return self._hunt.logits(self.rows, self.here).argmax(1)

    def take_nearer(self, other: _Walk) -> None:
        """Where ``other`` stands nearer, stand there, and step as it does."""
        at = torch.searchsorted(self.rows, other.rows)
        x = self._hunt.x(other.rows)
        nearer = Norm.L2.of(other.here - x) < Norm.L2.of(self.here[at] - x)
        self.here[at[nearer]] = other.here[nearer]
        self._size[at[nearer]] = other._size[nearer]
        self._share[at[nearer]] = other._share[nearer]

    def _step(self, some: Tensor, within: Tensor | None) -> None:
        hunt, rows, here = self._hunt, self.rows[some], self.here[some]
        x = hunt.x(rows)
        draws = [torch.randn(x.shape[1:], generator=self._streams[at]) for at in some.tolist()]
        there = _proposal(x, here, torch.stack(draws).to(x), self._size[some])
        logits = hunt.logits(rows, there)
        hit = adversarial(logits, hunt.y(rows))
        if within is not None:
            hit &= logits.argmax(1) == within[some]
        nearer = hit & (Norm.L2.of(there - x) < Norm.L2.of(here - x))
        self.here[some] = torch.where(nearer.view(-1, 1, 1, 1), there, here)
        share = _MEMORY * self._share[some] + (1 - _MEMORY) * hit
        size = torch.where(share > _TARGET, self._size[some] * _CHANGE, self._size[some] / _CHANGE)
        self._share[some], self._size[some] = share, size.clamp(1e-4, 1.0)


def _proposal(x: Tensor, here: Tensor, noise: Tensor, size: Tensor) -> Tensor:
    """A step along the sphere around ``x``, back onto it, and a tenth of a step inwards."""
    away = here - x
    radius = per_row(Norm.L2.of(away), away)
    outward = normalised(away)
    along = noise - outward * per_row((noise * outward).flatten(1).sum(1), noise)
    step = normalised(along) * per_row(size, noise) * radius
    onto = normalised(away + step) * radius
    # the gain of a perfect step of this size is of second order, and so is the step inwards
    inward = 1 - 0.5 * per_row(size, noise).square().clamp_max(0.5)
    return (x + onto * inward).clamp(0, 1)
