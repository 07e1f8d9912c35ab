"""Attacks by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from robcert.certify.core import Norm
from robcert.certify.numerics import Direction, Loss, StepRule

from .black_box.boundary import run_boundary
from .black_box.hopskipjump import run_hopskipjump
from .black_box.noise import run_noise
from .black_box.spatial import run_spatial
from .black_box.square import run_square
from .gradient.apgd import run_apgd, run_apgd_targeted, run_apgd_towards
from .gradient.carlini_wagner import run_carlini_wagner
from .gradient.ddn import run_ddn
from .gradient.deepfool import run_deepfool
from .gradient.fmn import run_fmn
from .gradient.logbarrier import run_log_barrier
from .gradient.pgd import LLR_DROPS, SOAR_L2_RULE, SOAR_RULE, run_fgsm, run_pgd
from .gradient.targeted import run_multi_targeted, run_random_targeted, run_towards
from .search.adversarial_starts import run_gaussian
from .search.bisection import Targets, at_radii, bisect
from .search.radius import standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .search.bisection import RadiusAttack
    from .search.budget import AttackBudget
    from .search.state import SearchState


_ALL = tuple(Norm)
_NOT_L1 = (Norm.L2, Norm.LINF)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack of the catalogue.

    Attributes:
        doc: one line for people.
        run: searches on a search state.
        norms: norms that it has.
        gradient: whether it needs the twin.
    """

    doc: str
    run: Callable[[SearchState, AttackBudget], None]
    norms: tuple[Norm, ...] = _ALL
    gradient: bool = True

    @property
    def at_radius(self) -> bool:
        """Whether it searches within a radius; others look for the smallest distance."""
        return isinstance(self.run, _Bisected)


@dataclass(frozen=True, slots=True)
class _Bisected:
    """An attack at a radius: at those of the budget, or at the smallest that succeeds."""

    attack: Callable[[AttackBudget], RadiusAttack]
    faces: Callable[[AttackBudget], Targets | None] = lambda _: None

    def __call__(self, state: SearchState, budget: AttackBudget) -> None:
        if budget.radii:
            at_radii(state, self.attack(budget), budget.radii)
        else:
            bisect(state, self.attack(budget), halvings=budget.halvings, faces=self.faces(budget))


def _tangents(budget: AttackBudget) -> Targets:
    """For attacks that try each class anyway."""
    return Targets(budget.targets)


def _pgd(
    loss: Loss, rule: Callable[[int], StepRule | None] = lambda _: None
) -> Callable[..., None]:
    def may_stop(budget: AttackBudget) -> bool:
        return not budget.every_step and rule(budget.steps) is None

    def attack(budget: AttackBudget) -> RadiusAttack:
        return lambda state, rows, epsilon, block: run_pgd(
            state,
            rows,
            epsilon,
            steps=budget.steps,
            rule=rule(budget.steps),
            loss=loss,
            restarts=budget.restarts,
            early_stopping=may_stop(budget),
            block=block,
        )

    def towards(budget: AttackBudget, target: Tensor) -> RadiusAttack:
        def run(state: SearchState, rows: Tensor, epsilon: Tensor, block: int) -> None:
            for restart in range(budget.restarts):
                run_towards(
                    state,
                    standing(state, rows, epsilon),
                    epsilon,
                    target,
                    steps=budget.steps,
                    rule=rule(budget.steps),
                    stream=f"pgd-towards/{restart}",
                    early_stopping=may_stop(budget),
                    block=block,
                )

        return run

    return _Bisected(attack, lambda budget: Targets(budget.targets, partial(towards, budget)))


def _adam(steps: int) -> StepRule:
    drops = ((steps // 2, 0.5), (3 * steps // 4, 0.5))
    return StepRule(Direction.ADAM, min(6 / steps, 1.0), relative=True, drops=drops)


def _fgsm(_: AttackBudget) -> RadiusAttack:
    return lambda state, rows, epsilon, _: run_fgsm(state, rows, epsilon, loss=Loss.CE)


def _fgsm20(_: AttackBudget) -> RadiusAttack:
    rule = StepRule(Direction.SIGN, 0.1, relative=True)  # LLR F.1: steps of a tenth of the radius
    return lambda state, rows, epsilon, block: run_pgd(
        state, rows, epsilon, steps=20, rule=rule, loss=Loss.CE, block=block
    )


def _multi_targeted(budget: AttackBudget) -> RadiusAttack:
    return lambda state, rows, epsilon, block: run_multi_targeted(
        state,
        rows,
        epsilon,
        steps=budget.steps,
        targets=budget.targets,
        early_stopping=not budget.every_step,
        block=block,
    )


def _papers_pgd(
    steps: int, rule: StepRule, loss: Loss = Loss.CE, *, restarts: int = 1
) -> Callable[[SearchState, AttackBudget], None]:
    """PGD as a paper runs it, whatever the budget."""
    return _Bisected(
        lambda _: (
            lambda state, rows, epsilon, block: run_pgd(
                state,
                rows,
                epsilon,
                steps=steps,
                rule=rule,
                loss=loss,
                restarts=restarts,
                block=block,
            )
        )
    )


def _llr_multi_targeted(_: AttackBudget) -> RadiusAttack:
    rule = StepRule(Direction.ADAM, 0.1)
    return lambda state, rows, epsilon, block: run_multi_targeted(
        state, rows, epsilon, steps=_LLR_STEPS, restarts=_LLR_RESTARTS, rule=rule, block=block
    )


def _random_targeted(
    steps: int | None = None, restarts: int | None = None, rule: StepRule | None = None
) -> Callable[[SearchState, AttackBudget], None]:
    return _Bisected(
        lambda budget: (
            lambda state, rows, epsilon, block: run_random_targeted(
                state,
                state.correct if budget.radii else rows,
                epsilon,
                steps=steps or budget.steps,
                restarts=restarts or budget.restarts,
                rule=rule,
                until_reached=bool(budget.radii),
                block=block,
            )
        )
    )


def _apgd(*, ratio: bool) -> Callable[[SearchState, AttackBudget], None]:
    # it settles late: at 20 steps it ends behind plain PGD, at 100 well before it
    def attack(budget: AttackBudget) -> RadiusAttack:
        return lambda state, rows, epsilon, block: run_apgd(
            state,
            rows,
            epsilon,
            steps=5 * budget.steps,
            restarts=budget.restarts,
            ratio=ratio,
            block=block,
        )

    def towards(budget: AttackBudget, target: Tensor) -> RadiusAttack:
        return lambda state, rows, epsilon, block: run_apgd_towards(
            state, rows, epsilon, target, steps=5 * budget.steps, stream="towards/0", block=block
        )

    return _Bisected(attack, lambda budget: Targets(budget.targets, partial(towards, budget)))


def _apgd_targeted(budget: AttackBudget) -> RadiusAttack:
    return lambda state, rows, epsilon, block: run_apgd_targeted(
        state, rows, epsilon, steps=budget.steps, targets=budget.targets, block=block
    )


def _square(budget: AttackBudget) -> RadiusAttack:
    return lambda state, rows, epsilon, block: run_square(
        state, rows, epsilon, queries=budget.queries, block=block
    )


def _noise(budget: AttackBudget) -> RadiusAttack:
    return lambda state, rows, epsilon, block: run_noise(
        state, rows, epsilon, draws=max(10, budget.queries // 10), block=block
    )


_LLR_STEPS, _LLR_RESTARTS = 200, 20
_LLR_RULE = StepRule(Direction.ADAM, 0.1, drops=LLR_DROPS)
_LINF = (Norm.LINF,)

CATALOGUE: dict[str, Attack] = {
    "fgsm": Attack("one step of steepest ascent of the cross-entropy", _Bisected(_fgsm)),
    "fgsm-20": Attack("20 sign steps of a tenth of the radius", _Bisected(_fgsm20), (Norm.LINF,)),
    "pgd": Attack("PGD on the margin", _pgd(Loss.MARGIN)),
    "pgd-ce": Attack("PGD on the cross-entropy", _pgd(Loss.CE)),
    "pgd-adam": Attack("PGD on the margin, Adam steps", _pgd(Loss.MARGIN, _adam), (Norm.LINF,)),
    "multi-targeted": Attack("PGD towards each other class", _Bisected(_multi_targeted, _tangents)),
    "random-targeted": Attack("PGD towards a class drawn once", _random_targeted()),
    "fmn": Attack(
        "fast minimum norm",
        lambda state, e: run_fmn(state, state.correct, steps=e.descent_steps, rivals=e.targets),
    ),
    "ddn": Attack(
        "decoupled direction and norm",
        lambda state, e: run_ddn(state, state.correct, steps=e.descent_steps, rivals=e.targets),
        (Norm.L2,),
    ),
    "deepfool": Attack(
        "steps onto the linearised boundary",
        lambda state, e: run_deepfool(state, state.correct, steps=50, classes=e.targets),
        _NOT_L1,
    ),
    "apgd-ce": Attack("Auto-PGD on the cross-entropy", _apgd(ratio=False)),
    "apgd-dlr": Attack("Auto-PGD on the ratio of logit differences", _apgd(ratio=True)),
    "apgd-targeted": Attack(
        "Auto-PGD towards each other class", _Bisected(_apgd_targeted, _tangents)
    ),
    "cw": Attack(
        "Carlini & Wagner",
        lambda state, e: run_carlini_wagner(
            state, state.correct, steps=e.descent_steps, rivals=e.targets
        ),
        (Norm.L2,),
    ),
    "logbarrier": Attack(
        "logarithmic barrier, from inside",
        lambda state, e: run_log_barrier(
            state, state.correct, steps=2 * e.descent_steps, rivals=e.targets
        ),
        _NOT_L1,
    ),
    "boundary": Attack(
        "walk along the boundary, labels only",
        lambda state, e: run_boundary(state, state.correct, queries=10 * e.queries),
        (Norm.L2,),
        gradient=False,
    ),
    "hopskipjump": Attack(
        "jumps along the boundary, labels only",
        lambda state, e: run_hopskipjump(
            state,
            state.correct,
            queries=10 * e.queries,
            first_draws=max(10, min(100, e.queries // 4)),
        ),
        _NOT_L1,
        gradient=False,
    ),
    "spatial": Attack(
        "worst of ten rotations and translations",
        lambda state, _: run_spatial(state, state.correct),
        gradient=False,
    ),
    "llr-pgd50": Attack(
        "LLR, Table F2: 50 Adam steps of 0.1 on the margin, one random start",
        _papers_pgd(50, StepRule(Direction.ADAM, 0.1), Loss.MARGIN),
        _LINF,
    ),
    "llr-untargeted": Attack(
        "LLR F.1: 200 Adam steps of 0.1, 0.01, 0.001 on the margin, 20 restarts",
        _papers_pgd(_LLR_STEPS, _LLR_RULE, Loss.MARGIN, restarts=_LLR_RESTARTS),
        _LINF,
    ),
    "llr-random-targeted": Attack(
        "LLR F.1: the same towards a class drawn once",
        _random_targeted(_LLR_STEPS, _LLR_RESTARTS, _LLR_RULE),
        _LINF,
    ),
    "llr-multi-targeted": Attack(
        "LLR F.1: 200 Adam steps of 0.1 towards each other class, 20 restarts",
        _Bisected(_llr_multi_targeted),
        _LINF,
    ),
    "soar-pgd7": Attack("SOAR: 7 sign steps of 2/255", _papers_pgd(7, SOAR_RULE), _LINF),
    "soar-pgd20": Attack("SOAR: 20 sign steps of 2/255", _papers_pgd(20, SOAR_RULE), _LINF),
    "soar-l2-pgd100": Attack(
        "SOAR: 100 l2 steps of a fortieth of the radius",
        _papers_pgd(100, SOAR_L2_RULE),
        (Norm.L2,),
    ),
    "square": Attack("random squares, scores only", _Bisected(_square), gradient=False),
    "noise": Attack("random points of the ball", _Bisected(_noise), gradient=False),
    "gaussian": Attack(
        "Gaussian noise that grows",
        lambda state, _: run_gaussian(state, state.correct),
        gradient=False,
    ),
}
"""Every attack by name. Those at a radius look for the smallest one by bisection, or search at
``AttackBudget.radii``."""

RANDOM_TARGETED = ("random-targeted", "llr-random-targeted")
"""Attacks that are after one class drawn for each image."""
