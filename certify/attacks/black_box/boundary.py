"""Boundary attack (Brendel, Rauber, Bethge 2018, arXiv:1712.04248): labels only, l2 and linf.

A random walk along the boundary on the adversarial side: each proposal is a step along the sphere
around the image, then one towards the image. The paper's sphere is that of l2. That of linf is
the surface of a cube, where a step moves few pixels, each to the other side. Walks start at the
nearest known adversarial image, else at noise of several classes, because a walk ends at the
nearest point of one class only. For an image without a start nothing is found.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import generator, normalised, per_row, sums

from ..search.adversarial_starts import adversarial_starts, start_class_count
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

_TARGET = 0.25  # share of proposals that should succeed; the paper has 50 % and 25 % for two steps
_MEMORY = 0.9  # weight of earlier proposals in the running share
_CHANGE = 1.1
_FIRST_SIZE = 0.3
_HALVINGS = 8
_NORMAL_SHARE = 1.2  # a normal number is smaller than 1.2 p with a probability near p, for p < 1/2
_LARGE = 1e30  # less than inf, the length of a walk without a start
_TRIED = 0.75  # share of the steps before one of several walks is chosen
_BEHIND = (math.inf, 3.0, 2.0, 1.5, 1.2, 1.1)  # walks farther than this times the best one pause


def boundary(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm = Norm.L2,
    queries: int = 2000,
    seed: int = 0,
) -> Found:
    """Nearest adversarial images in l2 or linf after a walk of ``queries`` steps."""
    state = SearchState(classifier, batch, norm, seed)
    run_boundary(state, state.correct, queries=queries)
    return state.result()


def run_boundary(state: SearchState, rows: Tensor, *, queries: int) -> None:
    """The walk on a search state, ``queries`` steps per image besides the search for a start.

    Where no adversarial image was known, three quarters of the steps are shared by walks in all
    other classes, or in three where there are many; the rest go to the walk that came nearest,
    which may then enter any class.
    """
    known = state.distance[rows].isfinite()
    for some, count in ((rows[known], 1), (rows[~known], start_class_count(state))):
        walks = _Walks(state, adversarial_starts(state, some, most=count), count)
        if count > 1:
            walks.try_classes(int(_TRIED * queries))
        walks.go(queries)
        state.shrink_and_verify(walks.rows, walks.nearest())


class _Walks:
    """Walks of each row, one per class, each with its own stream of random numbers.

    A point that a walk finds in the class of another walk is passed to that walk if it is nearer:
    the boundaries of all classes meet near the clean image, and a class that no noise has is found
    from its neighbours.

    One step size serves the step along the sphere and the step towards the image. It grows by a
    tenth where more than a quarter of the proposals succeed and shrinks otherwise.
    """

    def __init__(self, state: SearchState, starts: list[tuple[Tensor, Tensor]], count: int) -> None:
        self._state, self.rows = state, starts[0][0]
        self._streams = [
            [generator(state.seed, "attack/boundary", int(index), walk) for walk in range(count)]
            for index in state.batch.index[self.rows.cpu().numpy()]
        ]
        self._spent = torch.zeros_like(self.rows)
        self._points = state.x(self.rows).repeat(count, 1, 1, 1, 1)
        self._class = torch.full_like(self.rows, -1).repeat(count, 1)
        self._length = torch.full(self._class.shape, torch.inf, device=self.rows.device)
        self._size = torch.full_like(self._length, _FIRST_SIZE)
        self._share = torch.full_like(self._length, _TARGET)
        for walk, (rows, images) in enumerate(starts):
            at = torch.searchsorted(self.rows, rows)
            self._points[walk, at] = images
            self._class[walk, at] = state.logits(rows, images).argmax(1)
            self._spent[at] += 1
            self._length[walk, at] = state.norm.of(images - state.x(rows))

    def nearest(self) -> Tensor:
        """The nearest image of each row ``(r, c, h, w)``."""
        each = torch.arange(len(self.rows), device=self.rows.device)
        return self._points[self._length.argmin(0), each]

    def try_classes(self, queries: int) -> None:
        """Walk, each walk within its class, until ``queries`` are spent on each row.

        In every round the walks that are not far behind share the steps.
        """
        self._to_boundary()
        for done, behind in enumerate(_BEHIND, 1):
            going = self._length <= (behind * self._length.amin(0)).clamp_max(_LARGE)
            self._go(queries * done // len(_BEHIND), going, within=True)

    def go(self, queries: int) -> None:
        """Walk on from the nearest image, in any class, until ``queries`` are spent on each row."""
        each = torch.arange(len(self._length), device=self.rows.device)
        self._go(queries, each[:, None] == self._length.argmin(0), within=False)

    def _to_boundary(self) -> None:
        """Bisection from each start towards the image, within the class."""
        for walk, length in enumerate(self._length):
            at = length.isfinite().nonzero().flatten()
            which, low = torch.full_like(at, walk), torch.zeros_like(length[at])
            x = self._state.x(self.rows[at])
            for _ in range(_HALVINGS):
                part = (low + 1) / 2
                hit = self._query(at, which, x + (self._points[walk, at] - x) * per_row(part, x))
                low = torch.where(hit, low / part, part)

    def _go(self, queries: int, going: Tensor, *, within: bool) -> None:
        """Let the walks ``going (w, r)`` step in turn until ``queries`` are spent on each row."""
        order = going.int().argsort(dim=0, descending=True, stable=True)
        count = going.sum(0)
        while len(at := (self._spent < queries).nonzero().flatten()):
            self._step(at, order[self._spent[at] % count[at], at], within=within)

    def _step(self, at: Tensor, walk: Tensor, *, within: bool) -> None:
        x, size = self._state.x(self.rows[at]), self._size[walk, at]
        streams = [self._streams[a][w] for a, w in zip(at.tolist(), walk.tolist(), strict=True)]
        draws = torch.stack([torch.randn(x.shape[1:], generator=stream) for stream in streams])
        propose = _on_sphere if self._state.norm is Norm.L2 else _on_cube
        proposed = propose(x, self._points[walk, at], draws.to(x), size)
        hit = self._query(at, walk, proposed, within=within)
        share = _MEMORY * self._share[walk, at] + (1 - _MEMORY) * hit
        size = torch.where(share > _TARGET, size * _CHANGE, size / _CHANGE)
        self._share[walk, at], self._size[walk, at] = share, size.clamp(1e-4, 1.0)

    def _query(self, at: Tensor, walk: Tensor, points: Tensor, *, within: bool = True) -> Tensor:
        """Which ``points`` the walks may step to; each that is nearer is taken, by its walk."""
        rows = self.rows[at]
        logits = self._state.logits(rows, points)
        self._spent[at] += 1
        hit, predicted = adversarial(logits, self._state.y(rows)), logits.argmax(1)
        owner = self._owner(at, predicted) if within else walk
        length = self._state.norm.of(points - self._state.x(rows))
        nearer = hit & (owner >= 0) & (length < self._length[owner, at])
        to = owner[nearer], at[nearer]
        self._points[to], self._length[to] = points[nearer], length[nearer]
        self._class[to] = predicted[nearer]
        return hit & (owner == walk)

    def _owner(self, at: Tensor, predicted: Tensor) -> Tensor:
        """The walk of each predicted class, else the first without a class, else -1 ``(n,)``."""
        classes, count = self._class[:, at], len(self._class)
        free = (count - torch.arange(count, device=at.device))[:, None] * (classes < 0)
        rank, owner = ((classes == predicted) * (count + 1) + free).max(0)
        return torch.where(rank > 0, owner, -1)


def _on_sphere(x: Tensor, points: Tensor, noise: Tensor, size: Tensor) -> Tensor:
    """A step along the sphere around ``x``, back onto it, and a tenth of a step inwards."""
    away = points - x
    radius = per_row(Norm.L2.of(away), away)
    outward = normalised(away)
    along = noise - outward * per_row(sums(noise * outward), noise)
    step = normalised(along) * per_row(size, noise) * radius
    onto = normalised(away + step) * radius
    # the distance that a perfect step of this size gains is of second order, so is the step inwards
    inward = 1 - 0.5 * per_row(size, noise).square().clamp_max(0.5)
    return (x + onto * inward).clamp(0, 1)


def _on_cube(x: Tensor, points: Tensor, noise: Tensor, size: Tensor) -> Tensor:
    """Some pixels go to the other side of a cube around ``x``, which becomes a little smaller.

    These are about the share ``size`` of the pixels, one at least: most pixels of the nearest point
    lie on the surface of its cube.
    """
    away, share = points - x, per_row(size, noise)
    radius = per_row(Norm.LINF.of(away), away)
    least = per_row(noise.abs().flatten(1).amin(1), noise)
    chosen = noise.abs() <= torch.maximum(_NORMAL_SHARE * share, least)
    step = torch.where(chosen, noise.sign() * 2 * radius, 0)
    inward = radius * (1 - 0.5 * share.square().clamp_max(0.5))
    return (x + (away + step).clamp(-inward, inward)).clamp(0, 1)
