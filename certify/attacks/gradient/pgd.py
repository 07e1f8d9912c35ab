"""Attacks at a given radius by projected gradient ascent.

FGSM (Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572) and PGD (Madry et al. 2018,
arXiv:1706.06083) with the schedules of several papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.numerics import Direction, Loss, StepRule, feasible, per_row, project

from ..search.ascent import AscentPlan, Curve, run_ascents
from ..search.early_stopping import early_stopping_of, loss_margin
from ..search.radius import RadiusTask, loss_score, random_points
from ..search.state import Found, SearchState

if TYPE_CHECKING:
    from robcert.certify.model import Classifier


@dataclass(frozen=True, slots=True)
class PgdConfig:
    """How PGD is run at one radius.

    Attributes:
        steps: gradient steps of each restart.
        rule: how a gradient is turned into a step; None for :func:`default_rule`.
        loss: what is maximised.
        restarts: runs; an image broken by one takes no part in the next.
        random_start: start at a uniform random point of the ball, else at the clean image.
        early_stopping: stop on an image whose boundary is unattainable, see
            :class:`~robcert.certify.attacks.search.early_stopping.EarlyStopping`; the next restart
            tries it again.
    """

    steps: int = 20
    rule: StepRule | None = None
    loss: Loss = Loss.MARGIN
    restarts: int = 1
    random_start: bool = True
    early_stopping: bool = False

    def rule_in(self, norm: Norm) -> StepRule:
        """The step rule, by default that of ``norm`` and the number of steps."""
        return self.rule or default_rule(norm, self.steps)


DEFAULT = PgdConfig()
"""20 steps on the margin from one random start."""

_SOAR_RULE = StepRule(Direction.SIGN, 2 / 255)

SOAR_PGD7 = PgdConfig(7, _SOAR_RULE, Loss.CE)
"""linf attack of Ma, Faghri, Farahmand 2020 (arXiv:2004.01832, section 5)."""

SOAR_PGD20 = PgdConfig(20, _SOAR_RULE, Loss.CE)
"""Their longer linf attack."""

SOAR_L2_PGD100 = PgdConfig(100, StepRule(Direction.L2, 0.025, relative=True), Loss.CE)
"""Their l2 attack: 2.5 radii in 100 steps."""

_LLR_STEPS = ((100, 0.1), (150, 0.1))

LLR_PGD50 = PgdConfig(50, StepRule(Direction.ADAM, 0.1))
"""PGD of Qin et al. 2019 (arXiv:1907.02610, Table F2)."""

LLR_UNTARGETED = PgdConfig(200, StepRule(Direction.ADAM, 0.1, drops=_LLR_STEPS), restarts=20)
"""Their supplement F.1: step 0.1 to step 100, 0.01 to 150, 0.001 for the last 50."""

LLR_MULTI_TARGETED = PgdConfig(200, StepRule(Direction.ADAM, 0.1), restarts=20)
"""Their attack towards each class."""

LLR_FGSM20 = PgdConfig(20, StepRule(Direction.SIGN, 0.1, relative=True), Loss.CE)
"""Their FGSM-20: steps of a tenth of the radius."""


_FGSM = {
    Norm.LINF: ((Direction.SIGN, 1.0),),
    Norm.L2: ((Direction.L2, 1.0),),
    Norm.L1: ((Direction.L2, 1e4), (Direction.L2, 0.4)),
}
"""Directions of FGSM's steps and their lengths in radii, before the projection."""


def direction_for(norm: Norm) -> Direction:
    """Direction of a step: the sign in linf, else l2 (in l1 the projection makes it sparse)."""
    return Direction.SIGN if norm is Norm.LINF else Direction.L2


def default_rule(norm: Norm, steps: int) -> StepRule:
    """Steps of 6/steps radii, halved after one half and after three quarters of the steps.

    In l1 the first quarter of the steps goes far beyond the ball: the projection of such a point is
    the best vertex.
    """
    if norm is Norm.L1:
        drops = ((steps // 4, 0.1), (steps // 2, 0.4), (3 * steps // 4, 0.3))
        return StepRule(Direction.L2, 400 / steps, relative=True, drops=drops)
    halvings = ((steps // 2, 0.5), (3 * steps // 4, 0.5)) if steps >= 8 else ()
    return StepRule(direction_for(norm), min(6 / steps, 1.0), relative=True, drops=halvings)


def constant_rule(norm: Norm, step_size: float) -> StepRule:
    """Steps of ``step_size`` pixel units."""
    return StepRule(direction_for(norm), step_size)


def fgsm(classifier: Classifier, batch: Batch, ball: Ball, *, loss: Loss = Loss.CE) -> Found:
    """Adversarial images after one step of steepest ascent from the clean image to the sphere."""
    state = SearchState(classifier, batch, ball.norm)
    run_fgsm(state, RadiusTask.of_ball(state, ball), loss=loss)
    return state.result()


def pgd(
    classifier: Classifier,
    batch: Batch,
    ball: Ball,
    config: PgdConfig = DEFAULT,
    *,
    seed: int = 0,
    track_loss: bool = False,
) -> Found:
    """Adversarial images that PGD finds in the ball.

    Args:
        classifier: the model.
        batch: images.
        ball: where to search.
        config: steps, loss, restarts.
        seed: seed of the random starts, which come from each image's own stream.
        track_loss: also return the losses of the first run on all correctly classified images,
            each of which then takes all steps.
    """
    state = SearchState(classifier, batch, ball.norm, seed)
    curve = Curve(state, config.steps, config.loss) if track_loss else None
    run_pgd(state, RadiusTask.of_ball(state, ball), config, curve=curve)
    return state.result(None if curve is None else curve.losses)


def unbounded(
    classifier: Classifier,
    batch: Batch,
    *,
    steps: int = 100,
    loss: Loss = Loss.MARGIN,
    seed: int = 0,
) -> Found:
    """PGD bounded by the pixel box alone: it breaks every model whose gradients are usable."""
    config = PgdConfig(steps, loss=loss)
    return pgd(classifier, batch, Ball(Norm.LINF, 1.0), config, seed=seed)


def run_fgsm(state: SearchState, task: RadiusTask, *, loss: Loss) -> None:
    """FGSM on a search state.

    In l1 the gradient gives two points: the best of ball and box to first order, and one that
    changes more pixels, because the loss is not linear over such a distance. A long step,
    projected, gives the former.
    """
    rows = task.rows
    x = state.x(rows)
    _, gradient = state.gradient(rows, x, loss_score(state, loss))
    uphill = feasible(gradient, x)
    for direction, size in _FGSM[state.norm]:
        if not len(rows):
            return
        unit, _ = StepRule(direction, size).unit(uphill, task.epsilon[rows], ())
        radius = task.epsilon[rows].to(x)
        delta = project(unit * per_row(size * radius, x), state.norm, radius, x=x)
        logits = state.twin_logits(rows, x + delta)
        going = ~state.verify_candidates(rows, x + delta, logits, radius)
        rows, x, uphill = rows[going], x[going], uphill[going]


def run_pgd(
    state: SearchState, task: RadiusTask, config: PgdConfig, *, curve: Curve | None = None
) -> None:
    """PGD on a search state; ``curve`` records the losses of the first run, without stopping."""
    margin = loss_margin(state, config.loss)
    for restart in range(config.restarts):
        plan = AscentPlan(
            loss_score(state, config.loss),
            config.steps,
            config.rule_in(state.norm),
            random_points(state, task, f"pgd/{restart}") if config.random_start else None,
            early_stopping_of(
                state,
                task.epsilon,
                config.steps,
                margin,
                early_stopping=config.early_stopping and curve is None,
            ),
            curve if restart == 0 else None,
        )
        run_ascents(state, task.surviving(state) if restart else task, plan)
