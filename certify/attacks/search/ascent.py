"""Ascents of many images in few lanes: an image that is done makes room for the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import Direction, feasible, per_row, project

if TYPE_CHECKING:
    from robcert.certify.numerics import Loss, Moments, StepRule

    from .early_stopping import Outlook
    from .state import Hunt, Score

Start = Callable[[Tensor], Tensor]
"""Rows to their first perturbations."""


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Ascents under way, one a row: where each began, and how far it has come."""

    rows: Tensor
    x: Tensor
    radius: Tensor
    delta: Tensor
    t: Tensor
    moments: Moments

    def __getitem__(self, keep: Tensor | slice) -> _Lanes:
        return _Lanes(
            self.rows[keep],
            self.x[keep],
            self.radius[keep],
            self.delta[keep],
            self.t[keep],
            tuple(moment[keep] for moment in self.moments),
        )

    def joined(self, other: _Lanes) -> _Lanes:
        pairs = zip(self.moments, other.moments, strict=True)
        return _Lanes(
            torch.cat([self.rows, other.rows]),
            torch.cat([self.x, other.x]),
            torch.cat([self.radius, other.radius]),
            torch.cat([self.delta, other.delta]),
            torch.cat([self.t, other.t]),
            tuple(torch.cat(pair) for pair in pairs),
        )


@dataclass(slots=True)
class Curve:
    """Losses of one run; while it is kept, no image leaves early."""

    hunt: Hunt
    steps: int
    loss: Loss
    losses: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """No losses yet."""
        shape = (len(self.hunt.batch), self.steps + 1)
        self.losses = torch.full(shape, torch.nan, device=self.hunt.batch.x.device)

    def keep(self, lanes: _Lanes, point: Tensor, logits: Tensor) -> None:
        """Note the losses before the next step, and claim the rows that nothing has broken yet."""
        self.losses[lanes.rows, lanes.t.long() - 1] = self.loss.of(logits, self.hunt.y(lanes.rows))
        open_still = self.hunt.distance[lanes.rows].isinf()
        self.hunt.claim(lanes.rows[open_still], point[open_still], logits[open_still])


def climb(
    hunt: Hunt,
    rows: Tensor,
    score: Score,
    *,
    epsilon: Tensor,
    steps: int,
    rule: StepRule,
    start: Start | None = None,
    curve: Curve | None = None,
    outlook: Outlook | None = None,
) -> None:
    """One ascent of ``score`` for each of ``rows``, until the runtime confirms a success.

    An image that is done, or that ``outlook`` gives up, leaves and the next one takes its lane, so
    the cost follows the images that may still fall.
    """

    def begin(new: Tensor) -> _Lanes:
        x, radius = hunt.x(new), epsilon[new]
        first = torch.zeros_like(x) if start is None else start(new)
        delta = project(first, hunt.norm, radius, x=x)
        return _Lanes(new, x, radius, delta, torch.ones_like(radius), rule.moments(delta))

    lanes, waiting, finished = begin(rows[:0]), rows, begin(rows[:0])
    while len(lanes.rows) + len(waiting):
        free = hunt.lanes - len(lanes.rows)
        if free and len(waiting):
            lanes, waiting = lanes.joined(begin(waiting[:free])), waiting[free:]
        lanes = _one_step(hunt, lanes, score, rule, curve, outlook)
        done = lanes.t > steps
        if done.any():
            lanes, finished = lanes[~done], finished.joined(lanes[done])
        if len(finished.rows) >= hunt.lanes:
            _look(hunt, finished, curve)
            finished = finished[:0]
    _look(hunt, finished, curve)


def _one_step(
    hunt: Hunt,
    lanes: _Lanes,
    score: Score,
    rule: StepRule,
    curve: Curve | None,
    outlook: Outlook | None,
) -> _Lanes:
    point = lanes.x + lanes.delta
    logits, gradient = hunt.gradient(lanes.rows, point, score)
    if curve is None:
        going = ~hunt.claim(lanes.rows, point, logits)
        if not going.all():
            lanes, gradient, point = lanes[going], gradient[going], point[going]
            logits = logits[going]
    else:
        curve.keep(lanes, point, logits)
    by_pixel = hunt.norm is Norm.LINF and rule.direction is Direction.SIGN
    uphill = gradient if by_pixel else feasible(gradient, point)  # by pixel the projection stops it
    unit, moments = rule.unit(uphill, lanes.t, lanes.moments)
    moved = lanes.delta + unit * per_row(rule.sizes(lanes.t, lanes.radius), unit)
    delta = project(moved, hunt.norm, lanes.radius, x=lanes.x)
    stepped = replace(lanes, delta=delta, t=lanes.t + 1, moments=moments)
    if outlook is None:
        return stepped
    step = delta - lanes.delta
    return stepped[outlook.open(lanes.rows, lanes.t, lanes.delta, logits, gradient, step)]


def _look(hunt: Hunt, lanes: _Lanes, curve: Curve | None) -> None:
    """Ask about the last iterates, of many images at once."""
    if not len(lanes.rows):
        return
    point = lanes.x + lanes.delta
    logits = hunt.twin_logits(lanes.rows, point)
    if curve is None:
        hunt.claim(lanes.rows, point, logits)
    else:
        curve.keep(lanes, point, logits)
