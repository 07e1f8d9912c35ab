"""Auto-PGD (Croce & Hein 2020, arXiv:2003.01690, Algorithm 1): PGD with adaptive step size.

Objectives: cross-entropy, the difference of logits ratio (their equation 6), and its targeted form
(equation 7). linf and l2 as in the paper; l1 with the sparse steps of Croce & Hein 2021, in
:mod:`apgd_l1`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.numerics import Loss, feasible, normalised, per_row, project

from ..search.radius import RadiusTask, loss_score, random_points
from ..search.state import Found, Score, SearchState
from .apgd_l1 import ascend_sparsely

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

_MOMENTUM = 0.75
_PROGRESS = 0.75
_FIRST_PERIOD, _SHRINK, _LEAST_PERIOD = 0.22, 0.03, 0.06
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class ApgdConfig:
    """How Auto-PGD is run at one radius.

    Attributes:
        steps: gradient steps of each ascent.
        restarts: runs on the cross-entropy and on the logit ratio.
        targets: target classes of the targeted ratio, those with the largest clean logits.
    """

    steps: int = 100
    restarts: int = 1
    targets: int = 9


DEFAULT = ApgdConfig()
"""100 steps of each ascent."""


def apgd(
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    config: ApgdConfig = DEFAULT,
    *,
    seed: int = 0,
) -> Found:
    """Adversarial images in the ball by Auto-PGD.

    On the cross-entropy, on the logit ratio, and on the targeted ratio of each target class.
    """
    state = SearchState(classifier, batch, ball.norm, seed)
    task, steps, restarts = RadiusTask.of_ball(state, ball), config.steps, config.restarts
    run_apgd(state, task, steps=steps, restarts=restarts, ratio=False)
    run_apgd(state, task, steps=steps, restarts=restarts, ratio=True)
    run_apgd_targeted(state, task, steps=steps, targets=config.targets)
    return state.result()


def run_apgd(
    state: SearchState, task: RadiusTask, *, steps: int, restarts: int = 1, ratio: bool
) -> None:
    """Auto-PGD on a search state, on the logit ratio (``ratio``) or on the cross-entropy."""
    score = _ratio_score(state) if ratio else loss_score(state, Loss.CE)
    for restart in range(restarts):
        stream = f"apgd-{'dlr' if ratio else 'ce'}/{restart}"
        _ascend(state, task.surviving(state), score, steps, stream)


def run_apgd_targeted(state: SearchState, task: RadiusTask, *, steps: int, targets: int) -> None:
    """Auto-PGD on a search state towards each of the classes with the largest clean logits."""
    ranked = state.ranked_classes(task.rows, targets)
    for rank in range(ranked.shape[1]):
        run_apgd_towards(state, task, ranked[:, rank], steps=steps, stream=f"targeted/{rank}")


def run_apgd_towards(
    state: SearchState, task: RadiusTask, target: Tensor, *, steps: int, stream: str
) -> None:
    """One ascent of the targeted ratio towards the classes ``target (b,)``, on a search state."""
    score = _targeted_score(state, target)
    _ascend(state, task.surviving(state), score, steps, f"apgd-{stream}")


def _ratio_score(state: SearchState) -> Score:
    return lambda logits, rows: logit_ratio(logits, state.y(rows))


def _targeted_score(state: SearchState, target: Tensor) -> Score:
    return lambda logits, rows: targeted_ratio(logits, state.y(rows), target[rows])


def logit_ratio(logits: Tensor, y: Tensor) -> Tensor:
    r""":math:`-(z_y - \max_{i \ne y} z_i) / (z_{\pi_1} - z_{\pi_3})`, ``(b,)``.

    With fewer than three classes the denominator is 1.
    """
    margin = Loss.MARGIN.of(logits, y)
    if logits.shape[1] < 3:
        return margin
    top = logits.topk(3, dim=1).values
    return margin / (top[:, 0] - top[:, 2] + _TINY)


def targeted_ratio(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    r""":math:`-(z_y - z_t) / (z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2)`, ``(b,)``."""
    picked = logits.gather(1, torch.stack([target, y], dim=1))
    margin = picked[:, 0] - picked[:, 1]
    if logits.shape[1] < 4:
        return margin
    top = logits.topk(4, dim=1).values
    return margin / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _TINY)


def checkpoints(steps: int) -> tuple[int, ...]:
    """Steps after which the step size is judged (section 3.2 of the paper)."""
    shares, period = [0.0, _FIRST_PERIOD], _FIRST_PERIOD
    while shares[-1] < 1:
        period = max(period - _SHRINK, _LEAST_PERIOD)
        shares.append(shares[-1] + period)
    # rounded first: 0.22 * 100 is a little more than 22 in floats
    return tuple(math.ceil(round(share * steps, 6)) for share in shares[1:-1])


class _Ascents:
    """Running ascents; finished rows are dropped from all tensors at once."""

    def __init__(self, rows: Tensor, delta: Tensor, epsilon: Tensor) -> None:
        self.rows, self.delta, self.before = rows, delta, delta
        self.best_delta, self.best_gradient = delta, torch.zeros_like(delta)
        self.best = torch.full_like(epsilon, -torch.inf)
        self.last = self.best
        self.size = 2 * epsilon
        self.epsilon = epsilon
        self.rises = torch.zeros_like(epsilon)
        self.size_then, self.best_then = self.size, self.best

    def keep(self, going: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[going])

    def note(self, value: Tensor, gradient: Tensor) -> None:
        """Record the value and the gradient at ``delta``."""
        self.rises = self.rises + (value > self.last)
        better = value > self.best
        wide = better.view(-1, 1, 1, 1)
        self.best = torch.where(better, value, self.best)
        self.best_delta = torch.where(wide, self.delta, self.best_delta)
        self.best_gradient = torch.where(wide, gradient, self.best_gradient)
        self.last = value

    def judge(self, period: int) -> Tensor:
        """Rows that progress too slowly: their step is halved, they return to their best point."""
        slow = self.rises < _PROGRESS * period
        stuck = (self.size == self.size_then) & (self.best <= self.best_then)
        halve = slow | stuck
        self.size_then, self.best_then = self.size, self.best
        self.size = torch.where(halve, self.size / 2, self.size)
        self.delta = torch.where(halve.view(-1, 1, 1, 1), self.best_delta, self.delta)
        self.rises = torch.zeros_like(self.rises)
        return halve


def _ascend(state: SearchState, task: RadiusTask, score: Score, steps: int, stream: str) -> None:
    """Ascents of ``score``, as many images at a time as the state allows."""
    ascend = ascend_sparsely if state.norm is Norm.L1 else _ascend_together
    for rows in torch.split(task.rows, state.active_batch_size):
        if len(rows):
            ascend(state, task.on(rows), score, steps, stream)


def _ascend_together(
    state: SearchState, task: RadiusTask, score: Score, steps: int, stream: str
) -> None:
    rows, norm, epsilon = task.rows, state.norm, task.epsilon[task.rows]
    start = random_points(state, task, stream)(rows)
    ascents = _Ascents(rows, project(start, norm, epsilon, x=state.x(rows)), epsilon)
    judged, since = set(checkpoints(steps)), 0
    for step in range(steps):
        x = state.x(ascents.rows)
        logits, gradient = state.gradient(ascents.rows, x + ascents.delta, score)
        ascents.note(score(logits, ascents.rows).nan_to_num(nan=-torch.inf), gradient)
        going = ~state.verify_candidates(ascents.rows, x + ascents.delta, logits, ascents.epsilon)
        ascents.keep(going)
        gradient = gradient[going]
        if not len(ascents.rows):
            return
        since += 1
        if step in judged:
            halved = ascents.judge(since).view(-1, 1, 1, 1)
            gradient, since = torch.where(halved, ascents.best_gradient, gradient), 0
        _move(
            ascents, gradient, state.x(ascents.rows), norm, momentum=1.0 if step == 0 else _MOMENTUM
        )
    point = state.x(ascents.rows) + ascents.delta
    logits = state.twin_logits(ascents.rows, point)
    state.verify_candidates(ascents.rows, point, logits, ascents.epsilon)


def _move(ascents: _Ascents, gradient: Tensor, x: Tensor, norm: Norm, *, momentum: float) -> None:
    uphill = feasible(gradient, x + ascents.delta)
    unit = uphill.sign() if norm is Norm.LINF else normalised(uphill)
    ahead = project(ascents.delta + unit * per_row(ascents.size, unit), norm, ascents.epsilon, x=x)
    mixed = ascents.delta + momentum * (ahead - ascents.delta)
    mixed = mixed + (1 - momentum) * (ascents.delta - ascents.before)
    ascents.before, ascents.delta = ascents.delta, project(mixed, norm, ascents.epsilon, x=x)
