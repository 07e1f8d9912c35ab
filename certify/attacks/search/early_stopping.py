"""Early stopping: when an ascent can no longer reach the boundary.

To first order the margin can still rise by the gap at which Frank and Wolfe (1956) stop. How far
the margin deviated from its tangents on the way shows how reliable that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import Loss, feasible, sums

if TYPE_CHECKING:
    from .state import SearchState

Margin = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps logits ``(r, k)`` and their rows ``(r,)`` to margins ``(r,)``, below 0 until the attack
succeeds, and to the derivatives ``(r,)`` of the objective with respect to them; NaN where rounding
makes the derivative unknown."""

CAUTION = 3.0
"""Safety factor: an ascent stops where this times its largest possible rise is too little."""

PATIENCE = 1 / 3
"""Share of the steps always taken: by the default rule two radii, the diameter of the ball."""

_SATURATED = -14.0
"""Margin below which p_y - 1, and so the gradient of the cross-entropy, has an error of more than
7 % in float32."""


@dataclass(slots=True)
class EarlyStopping:
    r"""Which ascents of one run can still reach the boundary.

    An ascent stops at the perturbation :math:`\delta` if its margin m satisfies

    .. math:: m + 3 (\rho \max_{v \in B} \langle \nabla m, v - \delta \rangle + e) < 0,

    where B is the ball within the pixel box, e the largest error of a tangent at the next iterate
    so far, and :math:`\rho` the dual norm of the gradient divided by the smallest so far: where
    a model is flat at first, the slope grows on the way. This is no proof: a stopped image counts
    as surviving this run, like one for which all steps were taken.

    Attributes:
        state: state of the search.
        epsilon: radii ``(b,)``, pixel units.
        steps: steps of an ascent.
        margin: see :data:`Margin`.
        expected: margins ``(b,)`` that the last tangents predicted.
        error: e ``(b,)``.
        flattest: smallest dual norm of a gradient so far ``(b,)``.
    """

    state: SearchState
    epsilon: Tensor
    steps: int
    margin: Margin
    expected: Tensor = field(init=False)
    error: Tensor = field(init=False)
    flattest: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """No tangent has been seen yet."""
        self.error = torch.zeros(len(self.epsilon), dtype=torch.float64, device=self.epsilon.device)
        self.expected = torch.full_like(self.error, torch.nan)
        self.flattest = torch.full_like(self.error, torch.inf)

    def continues(
        self,
        rows: Tensor,
        t: Tensor,
        delta: Tensor,
        logits: Tensor,
        gradient: Tensor,
        step: Tensor,
    ) -> Tensor:
        """Which ascents take further steps ``(r,)``.

        Args:
            rows: rows of the batch.
            t: number of the next step ``(r,)``, from 1.
            delta: current perturbations ``(r, ...)``.
            logits: logits there.
            gradient: gradient of the objective there.
            step: the next step.
        """
        margin, slope = self.margin(logits, rows)
        deviation = torch.where(t > 1, (margin - self.expected[rows]).abs(), 0.0)
        self.error[rows] = torch.maximum(self.error[rows], deviation)
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
        """Largest rise of the objective in ball and pixel box if it were linear."""
        most = self.epsilon[rows] * self.state.norm.dual.of(feasible(gradient, self.state.x(rows)))
        return most - _dot(gradient, delta)


def early_stopping_of(
    state: SearchState, epsilon: Tensor, steps: int, margin: Margin, *, early_stopping: bool
) -> EarlyStopping | None:
    """Early stopping for a new run if wanted; none in l1, whose steps start outside the ball."""
    return (
        EarlyStopping(state, epsilon, steps, margin)
        if early_stopping and state.norm is not Norm.L1
        else None
    )


def loss_margin(state: SearchState, loss: Loss) -> Margin:
    r"""Margin that rises with a loss: the loss itself, except for the cross-entropy.

    The cross-entropy is :math:`\log(1 + e^s)` with :math:`s = \log \sum_{i \ne y} e^{z_i} - z_y`;
    s is positive where an attack has succeeded and close to linear in the logits.
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
    """The margin as its own objective: derivative 1."""
    return margin.double(), torch.ones_like(margin, dtype=torch.float64)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return sums(left * right)
