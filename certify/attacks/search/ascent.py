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
    from .radius import RadiusTask
    from .state import Score, SearchState

InitialPerturbation = Callable[[Tensor], Tensor]
"""Maps rows ``(r,)`` to the perturbations ``(r, c, h, w)`` that their ascents start from."""


@dataclass(frozen=True, slots=True)
class ActiveBatch:
    """Running ascents, one per row.

    Attributes:
        rows: rows of the batch ``(r,)``.
        x: their images ``(r, c, h, w)``.
        radius: their radii ``(r,)``.
        delta: current perturbations.
        t: number of the next step ``(r,)``, from 1.
        moments: state of the step rule.
    """

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
    """Records the losses of one run; while it records, every image takes all of its steps.

    Attributes:
        state: state of the search.
        steps: steps of an ascent.
        loss: the loss recorded.
        losses: loss before every step and after the last ``(b, steps + 1)``, NaN before it is
            known.
    """

    state: SearchState
    steps: int
    loss: Loss
    losses: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Fill the losses with NaN."""
        shape = (len(self.state.batch), self.steps + 1)
        self.losses = torch.full(shape, torch.nan, device=self.state.batch.x.device)

    def record(self, active: ActiveBatch, point: Tensor, logits: Tensor) -> None:
        """Record the losses before the next step, and verify images without a success so far."""
        self.losses[active.rows, active.t.long() - 1] = self.loss.of(
            logits, self.state.y(active.rows)
        )
        unbroken = self.state.distance[active.rows].isinf()
        self.state.verify_candidates(
            active.rows[unbroken], point[unbroken], logits[unbroken], active.radius[unbroken]
        )


@dataclass(frozen=True, slots=True)
class AscentPlan:
    """What is maximised in a run, and how.

    Attributes:
        score: what is maximised.
        steps: gradient steps per image.
        rule: how a gradient is turned into a step.
        initial_perturbation: where the ascents start; None for the clean images.
        early_stopping: stops ascents that cannot reach the boundary; None: all steps are taken.
        curve: records the losses; None records nothing.
    """

    score: Score
    steps: int
    rule: StepRule
    initial_perturbation: InitialPerturbation | None = None
    early_stopping: EarlyStopping | None = None
    curve: Curve | None = None


def run_ascents(state: SearchState, task: RadiusTask, plan: AscentPlan) -> None:
    """One ascent for each row of ``task``, until the runtime confirms a success.

    An image with a success, or one that early stopping stops, is replaced by the next one, so no
    gradients are spent on images that need none.
    """

    def started(rows: Tensor) -> ActiveBatch:
        x, radius = state.x(rows), task.epsilon[rows]
        initial = plan.initial_perturbation
        first = torch.zeros_like(x) if initial is None else initial(rows)
        delta = project(first, state.norm, radius, x=x)
        return ActiveBatch(
            rows, x, radius, delta, torch.ones_like(radius), plan.rule.moments(delta)
        )

    none = task.rows[:0]
    active, waiting, finished = started(none), task.rows, started(none)
    while len(active.rows) + len(waiting):
        free = state.active_batch_size - len(active.rows)
        if free and len(waiting):
            active, waiting = active.joined(started(waiting[:free])), waiting[free:]
        active = _one_step(state, active, plan)
        done = active.t > plan.steps
        if done.any():
            active, finished = active[~done], finished.joined(active[done])
        if len(finished.rows) >= state.active_batch_size:
            _verify_last(state, finished, plan.curve)
            finished = finished[:0]
    _verify_last(state, finished, plan.curve)


def _one_step(state: SearchState, active: ActiveBatch, plan: AscentPlan) -> ActiveBatch:
    point = active.x + active.delta
    logits, gradient = state.gradient(active.rows, point, plan.score)
    if plan.curve is None:
        going = ~state.verify_candidates(active.rows, point, logits, active.radius)
        if not going.all():
            active, gradient, point = active[going], gradient[going], point[going]
            logits = logits[going]
    else:
        plan.curve.record(active, point, logits)
    rule = plan.rule
    # sign steps are by pixel, so the projection alone keeps them in the box
    by_pixel = state.norm is Norm.LINF and rule.direction is Direction.SIGN
    uphill = gradient if by_pixel else feasible(gradient, point)
    unit, moments = rule.unit(uphill, active.t, active.moments)
    moved = active.delta + unit * per_row(rule.sizes(active.t, active.radius), unit)
    delta = project(moved, state.norm, active.radius, x=active.x)
    stepped = replace(active, delta=delta, t=active.t + 1, moments=moments)
    if plan.early_stopping is None:
        return stepped
    step = delta - active.delta
    return stepped[
        plan.early_stopping.continues(active.rows, active.t, active.delta, logits, gradient, step)
    ]


def _verify_last(state: SearchState, finished: ActiveBatch, curve: Curve | None) -> None:
    """Verify the iterates after the last step, of many images at once."""
    if not len(finished.rows):
        return
    point = finished.x + finished.delta
    logits = state.twin_logits(finished.rows, point)
    if curve is None:
        state.verify_candidates(finished.rows, point, logits, finished.radius)
    else:
        curve.record(finished, point, logits)
