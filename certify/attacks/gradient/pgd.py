"""Attacks at a given radius by projected gradient ascent, on the images that still stand.

FGSM (Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572) and PGD (Madry et al. 2018,
arXiv:1706.06083) with the schedules of several papers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import Direction, Loss, StepRule, feasible, per_row, project

from ..search.ascent import Curve, run_ascents
from ..search.early_stopping import early_stopping_of, loss_margin
from ..search.radius import loss_score, radii, random_starts, standing
from ..search.state import Found, SearchState

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.model import Classifier

LLR_DROPS = ((100, 0.1), (150, 0.1))
"""Step 0.1 to step 100, 0.01 to 150, 0.001 for the last 50 (Qin et al. 2019, supplement F.1)."""

SOAR_RULE = StepRule(Direction.SIGN, 2 / 255)
"""linf steps of Ma, Faghri, Farahmand 2020 (arXiv:2004.01832, section 5)."""

SOAR_L2_RULE = StepRule(Direction.L2, 0.025, relative=True)
"""Their l2 steps: 2.5 radii in 100 steps."""


_FGSM = {
    Norm.LINF: ((Direction.SIGN, 1.0),),
    Norm.L2: ((Direction.L2, 1.0),),
    Norm.L1: ((Direction.L2, 1e4), (Direction.L2, 0.4)),
}
"""Steps of FGSM and their lengths in radii, before the projection."""


def direction_for(norm: Norm) -> Direction:
    """Direction of a step: the sign in linf; elsewhere l2, which the l1 projection makes sparse."""
    return Direction.SIGN if norm is Norm.LINF else Direction.L2


def default_rule(norm: Norm, steps: int) -> StepRule:
    """Steps of 6/steps radii, halved at one half and at three quarters of the way.

    In l1 the first quarter goes far beyond the ball, whose projection is then its best vertex.
    """
    if norm is Norm.L1:
        drops = ((steps // 4, 0.1), (steps // 2, 0.4), (3 * steps // 4, 0.3))
        return StepRule(Direction.L2, 400 / steps, relative=True, drops=drops)
    halvings = ((steps // 2, 0.5), (3 * steps // 4, 0.5)) if steps >= 8 else ()
    return StepRule(direction_for(norm), min(6 / steps, 1.0), relative=True, drops=halvings)


def fgsm(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    loss: Loss = Loss.CE,
) -> Found:
    """One step of steepest ascent from the clean image to the edge of the ball."""
    state = SearchState(classifier, batch, norm)
    run_fgsm(state, state.correct, radii(state, epsilon), loss=loss)
    return state.result()


def pgd(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    steps: int = 20,
    step_size: float | None = None,
    loss: Loss = Loss.MARGIN,
    restarts: int = 1,
    seed: int = 0,
    random_start: bool = True,
    rule: StepRule | None = None,
    early_stopping: bool = False,
    track_loss: bool = False,
) -> Found:
    """PGD at radius ``epsilon``, pixel units, one number or one an image.

    Args:
        classifier: the model.
        batch: images.
        norm: norm of the ball.
        epsilon: radius.
        steps: gradient steps of each restart.
        step_size: length of a step in pixel units; by default see :func:`default_rule`.
        loss: what is climbed.
        restarts: runs; an image that is broken takes no part in the next.
        seed: of the random starts, which come from each image's own stream.
        random_start: begin anywhere in the ball; else at the clean image.
        rule: steps of another kind, e.g. Adam's; wins over ``step_size``.
        early_stopping: leave an image whose boundary is out of reach, see
            :class:`~robcert.certify.attacks.search.early_stopping.EarlyStopping`; the next restart
            tries it again.
        track_loss: also return the losses of the first run, on all images classified correctly,
            none of which then leaves early.
    """
    state = SearchState(classifier, batch, norm, seed)
    if rule is None and step_size is not None:
        rule = StepRule(direction_for(norm), step_size)
    curve = Curve(state, steps, loss) if track_loss else None
    run_pgd(
        state,
        state.correct,
        radii(state, epsilon),
        steps=steps,
        rule=rule,
        loss=loss,
        restarts=restarts,
        start_at_random=random_start,
        early_stopping=early_stopping and curve is None,
        curve=curve,
    )
    return state.result(None if curve is None else curve.losses)


def unbounded(
    classifier: Classifier,
    batch: Batch,
    *,
    steps: int = 100,
    loss: Loss = Loss.MARGIN,
    seed: int = 0,
) -> Found:
    """PGD with no bound but the pixel box: it breaks every model whose gradients mean something."""
    return pgd(classifier, batch, norm=Norm.LINF, epsilon=1.0, steps=steps, loss=loss, seed=seed)


def run_fgsm(state: SearchState, rows: Tensor, epsilon: Tensor, *, loss: Loss) -> None:
    """FGSM on a search state; ``epsilon (b,)`` speaks of all rows of the batch.

    In l1 the gradient gives two points: the best of ball and box to first order, and one spread
    over more pixels, for the loss is not linear so far. A long step projected is the former.
    """
    x = state.x(rows)
    _, gradient = state.gradient(rows, x, loss_score(state, loss))
    uphill = feasible(gradient, x)
    for direction, size in _FGSM[state.norm]:
        if not len(rows):
            return
        unit, _ = StepRule(direction, size).unit(uphill, epsilon[rows], ())
        radius = epsilon[rows].to(x)
        delta = project(unit * per_row(size * radius, x), state.norm, radius, x=x)
        going = ~state.verify_candidates(rows, x + delta, state.twin_logits(rows, x + delta))
        rows, x, uphill = rows[going], x[going], uphill[going]


def run_pgd(
    state: SearchState,
    rows: Tensor,
    epsilon: Tensor,
    *,
    steps: int,
    rule: StepRule | None = None,
    loss: Loss,
    restarts: int = 1,
    start_at_random: bool = True,
    block: int = 0,
    early_stopping: bool = False,
    curve: Curve | None = None,
) -> None:
    """PGD on a search state; ``epsilon (b,)`` speaks of all rows of the batch."""
    margin = loss_margin(state, loss)
    for restart in range(restarts):
        run_ascents(
            state,
            standing(state, rows, epsilon) if restart else rows,
            loss_score(state, loss),
            epsilon=epsilon,
            steps=steps,
            rule=rule or default_rule(state.norm, steps),
            start=random_starts(state, epsilon, f"pgd/{restart}", block)
            if start_at_random
            else None,
            curve=curve if restart == 0 else None,
            early_stopping=early_stopping_of(
                state, epsilon, steps, margin, early_stopping=early_stopping
            ),
        )
