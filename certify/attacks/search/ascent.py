"""Batched ascents of fixed width: a finished image is replaced by the next one."""

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
class ActiveBatch:
    """Running ascents, one per row: where each started, and how far it has come."""

    rows: Tensor
    x: Tensor
    radius: Tensor
    delta: Tensor
    t: Tensor
    moments: Moments

    def __getitem__(self, keep: Tensor | slice) -> ActiveBatch:
        return ActiveBatch(
            self.rows[keep],
            self.x[keep],
            self.radius[keep],
            self.delta[keep],
            self.t[keep],
            tuple(moment[keep] for moment in self.moments),
        )

    def joined(self, other: ActiveBatch) -> ActiveBatch:
        """These ascents and those of ``other``."""
        pairs = zip(self.moments, other.moments, strict=True)
        return ActiveBatch(
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

    def keep(self, active: ActiveBatch, point: Tensor, logits: Tensor) -> None:
        """Note the losses before the next step, and verify the rows that are not broken yet."""
        self.losses[active.rows, active.t.long() - 1] = self.loss.of(
            logits, self.state.y(active.rows)
        )
        open_still = self.state.distance[active.rows].isinf()
        self.state.verify_candidates(active.rows[open_still], point[open_still], logits[open_still])


def run_ascents(
    state: SearchState,
    rows: Tensor,
    score: Score,
    *,
    epsilon: Tensor,
    steps: int,
    rule: StepRule,
    start: Start | None = None,
    curve: Curve | None = None,
    early_stopping: EarlyStopping | None = None,
) -> None:
    """One ascent of ``score`` for each of ``rows``, until the runtime confirms a success.

    A finished image, or one that ``early_stopping`` stops, is replaced by the next one, so the cost
    is that of the images that may still be broken.
    """

    def begin(new: Tensor) -> ActiveBatch:
        x, radius = state.x(new), epsilon[new]
        first = torch.zeros_like(x) if start is None else start(new)
        delta = project(first, state.norm, radius, x=x)
        return ActiveBatch(new, x, radius, delta, torch.ones_like(radius), rule.moments(delta))

    active, waiting, finished = begin(rows[:0]), rows, begin(rows[:0])
    while len(active.rows) + len(waiting):
        free = state.active_batch_size - len(active.rows)
        if free and len(waiting):
            active, waiting = (
                active.joined(begin(waiting[:free])),
                waiting[free:],
            )
        active = _one_step(state, active, score, rule, curve, early_stopping)
        done = active.t > steps
        if done.any():
            active, finished = (
                active[~done],
                finished.joined(active[done]),
            )
        if len(finished.rows) >= state.active_batch_size:
            _look(state, finished, curve)
            finished = finished[:0]
    _look(state, finished, curve)


def _one_step(
    state: SearchState,
    active: ActiveBatch,
    score: Score,
    rule: StepRule,
    curve: Curve | None,
    early_stopping: EarlyStopping | None,
) -> ActiveBatch:
    point = active.x + active.delta
    logits, gradient = state.gradient(active.rows, point, score)
    if curve is None:
        going = ~state.verify_candidates(active.rows, point, logits)
        if not going.all():
            active, gradient, point = (
                active[going],
                gradient[going],
                point[going],
            )
            logits = logits[going]
    else:
        curve.keep(active, point, logits)
    by_pixel = state.norm is Norm.LINF and rule.direction is Direction.SIGN
    uphill = gradient if by_pixel else feasible(gradient, point)  # by pixel the projection stops it
    unit, moments = rule.unit(uphill, active.t, active.moments)
    moved = active.delta + unit * per_row(rule.sizes(active.t, active.radius), unit)
    delta = project(moved, state.norm, active.radius, x=active.x)
    stepped = replace(active, delta=delta, t=active.t + 1, moments=moments)
    if early_stopping is None:
        return stepped
    step = delta - active.delta
    return stepped[
        early_stopping.open(
            active.rows,
            active.t,
            active.delta,
            logits,
            gradient,
            step,
        )
    ]


def _look(state: SearchState, active: ActiveBatch, curve: Curve | None) -> None:
    """Ask about the last iterates, of many images at once."""
    if not len(active.rows):
        return
    point = active.x + active.delta
    logits = state.twin_logits(active.rows, point)
    if curve is None:
        state.verify_candidates(active.rows, point, logits)
    else:
        curve.keep(active, point, logits)
