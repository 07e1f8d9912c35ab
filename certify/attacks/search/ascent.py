"""Ascents of many images in few active_batch_size: an image that is done makes room for the next."""

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

    from .early_stopping import EarlyStopping
    from .state import Score, SearchState

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

    state: SearchState
    steps: int
    loss: Loss
    losses: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """No losses yet."""
        shape = (len(self.state.batch), self.steps + 1)
        self.losses = torch.full(shape, torch.nan, device=self.state.batch.x.device)

    def keep(self, active_batch_size: _Lanes, point: Tensor, logits: Tensor) -> None:
        """Note the losses before the next step, and verify_candidates the rows that nothing has broken yet."""
        self.losses[active_batch_size.rows, active_batch_size.t.long() - 1] = self.loss.of(
            logits, self.state.y(active_batch_size.rows)
        )
        open_still = self.state.distance[active_batch_size.rows].isinf()
        self.state.verify_candidates(
            active_batch_size.rows[open_still], point[open_still], logits[open_still]
        )


def climb(
    state: SearchState,
    rows: Tensor,
    score: Score,
    *,
    epsilon: Tensor,
    steps: int,
    rule: StepRule,
    start: Start | None = None,
    curve: Curve | None = None,
    outlook: EarlyStopping | None = None,
) -> None:
    """One ascent of ``score`` for each of ``rows``, until the runtime confirms a success.

    An image that is done, or that ``outlook`` gives up, leaves and the next one takes its lane, so
    the cost follows the images that may still fall.
    """

    def begin(new: Tensor) -> _Lanes:
        x, radius = state.x(new), epsilon[new]
        first = torch.zeros_like(x) if start is None else start(new)
        delta = project(first, state.norm, radius, x=x)
        return _Lanes(new, x, radius, delta, torch.ones_like(radius), rule.moments(delta))

    active_batch_size, waiting, finished = begin(rows[:0]), rows, begin(rows[:0])
    while len(active_batch_size.rows) + len(waiting):
        free = state.active_batch_size - len(active_batch_size.rows)
        if free and len(waiting):
            active_batch_size, waiting = (
                active_batch_size.joined(begin(waiting[:free])),
                waiting[free:],
            )
        active_batch_size = _one_step(state, active_batch_size, score, rule, curve, outlook)
        done = active_batch_size.t > steps
        if done.any():
            active_batch_size, finished = (
                active_batch_size[~done],
                finished.joined(active_batch_size[done]),
            )
        if len(finished.rows) >= state.active_batch_size:
            _look(state, finished, curve)
            finished = finished[:0]
    _look(state, finished, curve)


def _one_step(
    state: SearchState,
    active_batch_size: _Lanes,
    score: Score,
    rule: StepRule,
    curve: Curve | None,
    outlook: EarlyStopping | None,
) -> _Lanes:
    point = active_batch_size.x + active_batch_size.delta
    logits, gradient = state.gradient(active_batch_size.rows, point, score)
    if curve is None:
        going = ~state.verify_candidates(active_batch_size.rows, point, logits)
        if not going.all():
            active_batch_size, gradient, point = (
                active_batch_size[going],
                gradient[going],
                point[going],
            )
            logits = logits[going]
    else:
        curve.keep(active_batch_size, point, logits)
    by_pixel = state.norm is Norm.LINF and rule.direction is Direction.SIGN
    uphill = gradient if by_pixel else feasible(gradient, point)  # by pixel the projection stops it
    unit, moments = rule.unit(uphill, active_batch_size.t, active_batch_size.moments)
    moved = active_batch_size.delta + unit * per_row(
        rule.sizes(active_batch_size.t, active_batch_size.radius), unit
    )
    delta = project(moved, state.norm, active_batch_size.radius, x=active_batch_size.x)
    stepped = replace(active_batch_size, delta=delta, t=active_batch_size.t + 1, moments=moments)
    if outlook is None:
        return stepped
    step = delta - active_batch_size.delta
    return stepped[
        outlook.open(
            active_batch_size.rows,
            active_batch_size.t,
            active_batch_size.delta,
            logits,
            gradient,
            step,
        )
    ]


def _look(state: SearchState, active_batch_size: _Lanes, curve: Curve | None) -> None:
    """Ask about the last iterates, of many images at once."""
    if not len(active_batch_size.rows):
        return
    point = active_batch_size.x + active_batch_size.delta
    logits = state.twin_logits(active_batch_size.rows, point)
    if curve is None:
        state.verify_candidates(active_batch_size.rows, point, logits)
    else:
        curve.keep(active_batch_size, point, logits)
