"""Attacks by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from robcert.certify.core import Norm
from robcert.certify.numerics import Direction, Loss, StepRule

from .black_box.boundary import run_boundary
from .black_box.hopskipjump import run_hopskipjump
from .black_box.noise import run_noise
from .black_box.spatial import run_spatial
from .black_box.square import SquareConfig, run_square
from .gradient.apgd import run_apgd, run_apgd_targeted, run_apgd_towards
from .gradient.carlini_wagner import CarliniWagnerConfig, run_carlini_wagner
from .gradient.ddn import run_ddn
from .gradient.deepfool import run_deepfool
from .gradient.fmn import run_fmn
from .gradient.logbarrier import run_log_barrier
from .gradient.pgd import (
    LLR_FGSM20,
    LLR_MULTI_TARGETED,
    LLR_PGD50,
    LLR_UNTARGETED,
    SOAR_L2_PGD100,
    SOAR_PGD7,
    SOAR_PGD20,
    PgdConfig,
    run_fgsm,
    run_pgd,
)
from .gradient.targeted import run_multi_targeted, run_random_targeted, run_towards
from .search.adversarial_starts import run_gaussian
from .search.bisection import Targets, at_radii, bisect

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .search.bisection import RadiusAttack
    from .search.budget import AttackBudget
    from .search.radius import RadiusTask
    from .search.state import SearchState


TARGETS = 9
"""Classes that the targeted Auto-PGD tries, as in AutoAttack; the class that is reached need not be
one of the few with the largest logits."""

_ALL = tuple(Norm)
_NOT_L1 = (Norm.L2, Norm.LINF)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack of the catalogue.

    Attributes:
        doc: what it does, in one line for `robcert attacks`.
        run: searches on a search state.
        norms: norms that it supports.
        gradient: whether it needs the twin.
    """

    doc: str
    run: Callable[[SearchState, AttackBudget], None]
    norms: tuple[Norm, ...] = _ALL
    gradient: bool = True

    @property
    def at_radius(self) -> bool:
        """Whether it searches within a given radius; other attacks minimise the distance."""
        return isinstance(self.run, _AtRadius)


@dataclass(frozen=True, slots=True)
class _AtRadius:
    """An attack at a radius: at those of the budget, else (if ``bisects``) at the smallest one.

    Attributes:
        attack: the attack with a budget.
        targets: classes that the search for the smallest radius considers.
        bisects: whether it searches for the smallest radius with a budget.
        every_image: see :func:`at_radii`.
    """

    attack: Callable[[AttackBudget], RadiusAttack]
    targets: Callable[[AttackBudget], Targets | None] = lambda _: None
    bisects: Callable[[AttackBudget], bool] = lambda _: True
    every_image: bool = False

    def __call__(self, state: SearchState, budget: AttackBudget) -> None:
        attack = self.attack(budget)
        if budget.epsilons:
            at_radii(state, attack, budget.epsilons, every_image=self.every_image)
        elif self.bisects(budget):
            bisect(state, attack, halvings=budget.halvings, targets=self.targets(budget))


def _tangents(budget: AttackBudget) -> Targets:
    """For attacks that try each class anyway: the tangents give the first radius only."""
    return Targets(budget.targets)


def _pgd(
    loss: Loss, rule: Callable[[int], StepRule | None] = lambda _: None
) -> Callable[[SearchState, AttackBudget], None]:
    def config(budget: AttackBudget) -> PgdConfig:
        own_rule = rule(budget.steps)
        return PgdConfig(
            budget.steps,
            own_rule,
            loss,
            budget.restarts,
            early_stopping=budget.early_stopping and own_rule is None,
        )

    def attack(budget: AttackBudget) -> RadiusAttack:
        return lambda state, task: run_pgd(state, task, config(budget))

    def towards(budget: AttackBudget, target: Tensor) -> RadiusAttack:
        def run(state: SearchState, task: RadiusTask) -> None:
            for restart in range(budget.restarts):
                stream = f"pgd-towards/{restart}"
                run_towards(state, task.surviving(state), target, config(budget), stream=stream)

        return run

    return _AtRadius(attack, lambda budget: Targets(budget.targets, partial(towards, budget)))


def _adam(steps: int) -> StepRule:
    drops = ((steps // 2, 0.5), (3 * steps // 4, 0.5))
    return StepRule(Direction.ADAM, min(6 / steps, 1.0), relative=True, drops=drops)


def _fgsm(_: AttackBudget) -> RadiusAttack:
    return lambda state, task: run_fgsm(state, task, loss=Loss.CE)


def _multi_targeted(budget: AttackBudget) -> RadiusAttack:
    config = PgdConfig(budget.steps, early_stopping=budget.early_stopping)
    return lambda state, task: run_multi_targeted(state, task, config, targets=budget.targets)


def _fixed_pgd(config: PgdConfig) -> Callable[[SearchState, AttackBudget], None]:
    """PGD as a paper runs it, whatever the budget; only the restarts may be given."""

    def attack(budget: AttackBudget) -> RadiusAttack:
        return lambda state, task: run_pgd(state, task, _restarted(config, budget))

    return _AtRadius(attack)


def _restarted(config: PgdConfig, budget: AttackBudget) -> PgdConfig:
    """``config`` with the restarts that the user requested, if any."""
    given = budget.given_restarts
    return config if given is None else replace(config, restarts=given)


def _llr_multi_targeted(budget: AttackBudget) -> RadiusAttack:
    config = _restarted(LLR_MULTI_TARGETED, budget)
    return lambda state, task: run_multi_targeted(state, task, config)


def _random_targeted(
    fixed: PgdConfig | None = None,
) -> Callable[[SearchState, AttackBudget], None]:
    """Random-Targeted as a paper runs it (``fixed``), or by the budget.

    At given radii every image is attacked until its target class is reached, whatever other attacks
    found: the share that gets there is a result of its own.
    """

    def attack(budget: AttackBudget) -> RadiusAttack:
        config = PgdConfig(
            budget.steps, restarts=budget.restarts, early_stopping=budget.early_stopping
        )
        if fixed is not None:
            config = _restarted(fixed, budget)
        given = bool(budget.epsilons)
        return lambda state, task: run_random_targeted(state, task, config, until_reached=given)

    return _AtRadius(attack, every_image=True)


def _apgd(*, ratio: bool) -> Callable[[SearchState, AttackBudget], None]:
    # it converges late: with 20 steps it finds less than plain PGD, with 100 much more
    def attack(budget: AttackBudget) -> RadiusAttack:
        steps, restarts = 5 * budget.steps, budget.restarts
        return lambda state, task: run_apgd(
            state, task, steps=steps, restarts=restarts, ratio=ratio
        )

    def towards(budget: AttackBudget, target: Tensor) -> RadiusAttack:
        return lambda state, task: run_apgd_towards(
            state, task, target, steps=5 * budget.steps, stream="towards/0"
        )

    return _AtRadius(attack, lambda budget: Targets(budget.targets, partial(towards, budget)))


def _apgd_targeted(budget: AttackBudget) -> RadiusAttack:
    def attack(state: SearchState, task: RadiusTask) -> None:
        known = state.distance[task.rows]
        near = known.isinf() | (known <= budget.near * task.epsilon[task.rows])
        run_apgd_targeted(state, task.on(task.rows[near]), steps=budget.steps, targets=TARGETS)

    return attack


def _square(budget: AttackBudget) -> RadiusAttack:
    return lambda state, task: run_square(state, task, SquareConfig(budget.queries))


def _noise(budget: AttackBudget) -> RadiusAttack:
    return lambda state, task: run_noise(state, task, draws=max(10, budget.queries // 10))


def _carlini_wagner(state: SearchState, budget: AttackBudget) -> None:
    config = CarliniWagnerConfig(budget.descent_steps, targets=budget.targets)
    run_carlini_wagner(state, state.correct, config)


_LINF = (Norm.LINF,)

CATALOGUE: dict[str, Attack] = {
    "fgsm": Attack("one step of steepest ascent of the cross-entropy", _AtRadius(_fgsm)),
    "fgsm-20": Attack("20 sign steps of a tenth of the radius", _fixed_pgd(LLR_FGSM20), _LINF),
    "pgd": Attack("PGD on the margin", _pgd(Loss.MARGIN)),
    "pgd-ce": Attack("PGD on the cross-entropy", _pgd(Loss.CE)),
    "pgd-adam": Attack("PGD on the margin, Adam steps", _pgd(Loss.MARGIN, _adam), (Norm.LINF,)),
    "multi-targeted": Attack("PGD towards each other class", _AtRadius(_multi_targeted, _tangents)),
    "random-targeted": Attack("PGD towards one randomly chosen class", _random_targeted()),
    "fmn": Attack(
        "fast minimum norm",
        lambda state, budget: run_fmn(
            state, state.correct, steps=budget.descent_steps, targets=budget.targets
        ),
    ),
    "ddn": Attack(
        "decoupled direction and norm",
        lambda state, budget: run_ddn(
            state, state.correct, steps=budget.descent_steps, targets=budget.targets
        ),
        (Norm.L2,),
    ),
    "deepfool": Attack(
        "steps onto the linearised boundary",
        lambda state, budget: run_deepfool(state, state.correct, steps=50, classes=budget.targets),
        _NOT_L1,
    ),
    "apgd-ce": Attack("Auto-PGD on the cross-entropy", _apgd(ratio=False)),
    "apgd-dlr": Attack("Auto-PGD on the ratio of logit differences", _apgd(ratio=True)),
    "apgd-targeted": Attack(
        "Auto-PGD towards each other class",
        _AtRadius(_apgd_targeted, _tangents, lambda budget: math.isinf(budget.near)),
    ),
    "cw": Attack("Carlini & Wagner", _carlini_wagner, _NOT_L1),
    "logbarrier": Attack(
        "logarithmic barrier, from a misclassified start",
        lambda state, budget: run_log_barrier(
            state, state.correct, steps=2 * budget.descent_steps, targets=budget.targets
        ),
        _NOT_L1,
    ),
    "boundary": Attack(
        "walk along the boundary, labels only",
        lambda state, budget: run_boundary(state, state.correct, queries=10 * budget.queries),
        _NOT_L1,
        gradient=False,
    ),
    "hopskipjump": Attack(
        "jumps along the boundary, labels only",
        lambda state, budget: run_hopskipjump(
            state,
            state.correct,
            queries=10 * budget.queries,
            first_draws=max(10, min(100, budget.queries // 4)),
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
        _fixed_pgd(LLR_PGD50),
        _LINF,
    ),
    "llr-untargeted": Attack(
        "LLR F.1: 200 Adam steps of 0.1, 0.01, 0.001 on the margin, 20 restarts",
        _fixed_pgd(LLR_UNTARGETED),
        _LINF,
    ),
    "llr-random-targeted": Attack(
        "LLR F.1: the same towards one randomly chosen class",
        _random_targeted(LLR_UNTARGETED),
        _LINF,
    ),
    "llr-multi-targeted": Attack(
        "LLR F.1: 200 Adam steps of 0.1 towards each other class, 20 restarts",
        _AtRadius(_llr_multi_targeted),
        _LINF,
    ),
    "soar-pgd7": Attack("SOAR: 7 sign steps of 2/255", _fixed_pgd(SOAR_PGD7), _LINF),
    "soar-pgd20": Attack("SOAR: 20 sign steps of 2/255", _fixed_pgd(SOAR_PGD20), _LINF),
    "soar-l2-pgd100": Attack(
        "SOAR: 100 l2 steps of a fortieth of the radius",
        _fixed_pgd(SOAR_L2_PGD100),
        (Norm.L2,),
    ),
    "square": Attack("random squares, scores only", _AtRadius(_square), gradient=False),
    "noise": Attack("random points of the ball", _AtRadius(_noise), gradient=False),
    "gaussian": Attack(
        "Gaussian noise of growing size",
        lambda state, _: run_gaussian(state, state.correct),
        gradient=False,
    ),
}
"""Every attack by name. Attacks at a radius find the smallest radius by bisection, or search at
``AttackBudget.epsilons``."""

RANDOM_TARGETED = ("random-targeted", "llr-random-targeted")
"""Attacks towards one class per image, chosen at random."""

AS_PUBLISHED = tuple(name for name in CATALOGUE if name.startswith(("llr-", "soar-", "fgsm-20")))
"""Attacks with the steps and restarts of a paper, of which the user may change the restarts."""
