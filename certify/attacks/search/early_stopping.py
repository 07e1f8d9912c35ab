"""Early stopping: when an ascent cannot reach the boundary any more.

How much a margin can still rise in the ball is told to first order by the gap at which Frank and
Wolfe (1956) stop, and how far that can be trusted by how far the margin has strayed from its
tangents on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import Loss, feasible

if TYPE_CHECKING:
    from .state import SearchState

Margin = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits ``(r, k)`` and their rows ``(r,)`` to margins ``(r,)``, below 0 until the attack succeeds,
and the derivatives ``(r,)`` of what is climbed in them; NaN where those cannot be told."""

CAUTION = 3.0
"""Times that the boundary must be farther than what can be reached."""

PATIENCE = 1 / 3
"""Share of the steps that are taken before: with the default rule two radii, across the ball."""

_SATURATED = -14.0
"""Margin below which p_y - 1, and with it the cross-entropy's gradient, is off by more than 7 % in
float32."""


@dataclass(slots=True)
class EarlyStopping:
    r"""Whether the ascents of one run are worth continuing.

    An ascent is stopped at the perturbation :math:`\delta` where its margin m has

    .. math:: m + 3 (\rho \max_{v \in B} \langle \nabla m, v - \delta \rangle + e) < 0,

    B being the ball within the pixel box, e the largest error that a tangent had at the next
    iterate so far, and :math:`\rho` the dual norm of the gradient over the least so far: where a
    model is flat at first the slope grows on the way. That is no proof: a stopped image counts
    as standing, as one does where the steps ran out.

    Attributes:
        state: the state.
        epsilon: radii ``(b,)``, pixel units.
        steps: steps of an ascent.
        margin: see :data:`Margin`.
        expected: margins ``(b,)`` that the last tangents promised.
        error: e ``(b,)``.
        flattest: least dual norm of a gradient so far ``(b,)``.
    """

    state: SearchState
    epsilon: Tensor
    steps: int
    margin: Margin
    expected: Tensor = field(init=False)
    error: Tensor = field(init=False)
    flattest: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        self.error = torch.zeros(len(self.epsilon), dtype=torch.float64, device=self.epsilon.device)
        self.expected = torch.full_like(self.error, torch.nan)
        self.flattest = torch.full_like(self.error, torch.inf)

    def open(
        self,
        rows: Tensor,
        t: Tensor,
        delta: Tensor,
        logits: Tensor,
        gradient: Tensor,
        step: Tensor,
    ) -> Tensor:
        """Which of ``rows`` go on ``(r,)``, after a look at where they are.

        Args:
            rows: rows of the batch.
            t: number of the step to come ``(r,)``, from 1.
            delta: perturbations ``(r, ...)``.
            logits: logits there.
            gradient: gradient there of what is climbed.
            step: the step to come.
        """
        margin, slope = self.margin(logits, rows)
        strayed = torch.where(t > 1, (margin - self.expected[rows]).abs(), 0.0)
        self.error[rows] = torch.maximum(self.error[rows], strayed)
        self.expected[rows] = margin + _dot(gradient, step) / slope
        steepness = self.state.norm.dual.of(gradient) / slope
        self.flattest[rows] = torch.minimum(self.flattest[rows], steepness)
        doubtful = (t > PATIENCE * self.steps + 1) & (margin + CAUTION * self.error[rows] < 0)
        if doubtful.any():
            at = doubtful.nonzero().flatten()
            steeper = (steepness / self.flattest[rows])[at]
            rise = self._gap(rows[at], delta[at], gradient[at]) / slope[at] * steeper
            doubtful[at] = margin[at] + CAUTION * (rise + self.error[rows[at]]) < 0
        return ~doubtful

    def _gap(self, rows: Tensor, delta: Tensor, gradient: Tensor) -> Tensor:
        """What is climbed could rise by this much, were it linear; pixels count up to the box."""
        most = self.epsilon[rows] * self.state.norm.dual.of(feasible(gradient, self.state.x(rows)))
        return most - _dot(gradient, delta)


def early_stopping_of(
    state: SearchState, epsilon: Tensor, steps: int, margin: Margin, *, early_stopping: bool
) -> EarlyStopping | None:
    """Early stopping of a new run where it is wanted; none in l1 (steps start outside)."""
    return (
        EarlyStopping(state, epsilon, steps, margin)
        if early_stopping and state.norm is not Norm.L1
        else None
    )


def loss_margin(state: SearchState, loss: Loss) -> Margin:
    r"""Margin behind a loss, by itself but for the cross-entropy.

    That is :math:`\log(1 + e^s)` with :math:`s = \log \sum_{i \ne y} e^{z_i} - z_y`, which is
    positive where an attack has succeeded and as straight as the logits.
    """
    if loss is not Loss.CE:
        return lambda logits, rows: unit_slope(loss.of(logits, state.y(rows)))

    def soft_margin(logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        y = state.y(rows).unsqueeze(1)
        scores = logits.double()
        others = scores.scatter(1, y, -torch.inf).logsumexp(1)
        margin = others - scores.gather(1, y).squeeze(1)
        return margin, torch.where(margin > _SATURATED, margin.sigmoid(), torch.nan)

    return soft_margin


def unit_slope(margin: Tensor) -> tuple[Tensor, Tensor]:
    """Where the margin itself is climbed."""
    return margin.double(), torch.ones_like(margin, dtype=torch.float64)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).flatten(1).sum(1)
