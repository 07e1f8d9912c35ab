"""Attacks by name, and the suites that look for each image's nearest adversarial image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from robcert.certify.ascent import Direction, StepRule
from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.objectives import Loss

from .apgd import run_apgd, run_apgd_targeted
from .bisection import bisect
from .boundary import run_boundary
from .carlini_wagner import run_carlini_wagner
from .ddn import run_ddn
from .deepfool import run_deepfool
from .fmn import run_fmn
from .logbarrier import run_log_barrier
from .noise import run_gaussian, run_noise
from .pgd import run_fgsm, run_multi_targeted, run_pgd, run_random_targeted
from .spatial import run_spatial
from .square import run_square

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bisection import RadiusAttack
    from .hunt import Hunt


class Suite(StrEnum):
    """How much is spent on the search."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard each attack of a run tries.

    Attributes:
        steps: gradient steps at one radius.
        restarts: runs at one radius, on the images that still stand.
        targets: other classes tried by targeted attacks, those with the largest logits.
        descent_steps: gradient steps of attacks that look for the smallest distance themselves.
        halvings: bisections of the radius.
        queries: forward passes of a score-based attack at one radius.
    """

    steps: int
    restarts: int
    targets: int
    descent_steps: int
    halvings: int
    queries: int


EFFORTS = {
    Suite.QUICK: Effort(10, 1, 3, 50, 10, 100),
    Suite.STANDARD: Effort(20, 2, 9, 200, 11, 300),
    Suite.THOROUGH: Effort(50, 5, 9, 1000, 12, 2000),
}

_ALL = tuple(Norm)
_NOT_L1 = (Norm.L2, Norm.LINF)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack of the catalogue.

    Attributes:
        doc: one line for people.
        run: searches within a hunt.
        norms: norms that it has.
        gradient: whether it needs the twin.
    """

    doc: str
    run: Callable[[Hunt, Effort], None]
    norms: tuple[Norm, ...] = _ALL
    gradient: bool = True


def _bisected(attack: Callable[[Effort], RadiusAttack]) -> Callable[[Hunt, Effort], None]:
    return lambda hunt, effort: bisect(hunt, attack(effort), halvings=effort.halvings)


def _pgd(
    loss: Loss, rule: Callable[[int], StepRule | None] = lambda _: None
) -> Callable[..., None]:
    return _bisected(
        lambda effort: (
            lambda hunt, rows, epsilon, block: run_pgd(
                hunt,
                rows,
                epsilon,
                steps=effort.steps,
                rule=rule(effort.steps),
                loss=loss,
                restarts=effort.restarts,
                block=block,
            )
        )
    )


def _adam(steps: int) -> StepRule:
    drops = ((steps // 2, 0.5), (3 * steps // 4, 0.5))
    return StepRule(Direction.ADAM, min(6 / steps, 1.0), relative=True, drops=drops)


def _fgsm(_: Effort) -> RadiusAttack:
    return lambda hunt, rows, epsilon, _: run_fgsm(hunt, rows, epsilon, loss=Loss.CE)


def _fgsm20(_: Effort) -> RadiusAttack:
    rule = StepRule(Direction.SIGN, 0.1, relative=True)  # LLR F.1: steps of a tenth of the radius
    return lambda hunt, rows, epsilon, block: run_pgd(
        hunt, rows, epsilon, steps=20, rule=rule, loss=Loss.CE, block=block
    )


def _multi_targeted(effort: Effort) -> RadiusAttack:
    return lambda hunt, rows, epsilon, block: run_multi_targeted(
        hunt, rows, epsilon, steps=effort.steps, targets=effort.targets, block=block
    )


def _random_targeted(effort: Effort) -> RadiusAttack:
    return lambda hunt, rows, epsilon, block: run_random_targeted(
        hunt, rows, epsilon, steps=effort.steps, block=block
    )


def _apgd(*, ratio: bool) -> Callable[[Hunt, Effort], None]:
    return _bisected(
        lambda effort: (
            lambda hunt, rows, epsilon, block: run_apgd(
                hunt,
                rows,
                epsilon,
                steps=effort.steps,
                restarts=effort.restarts,
                ratio=ratio,
                block=block,
            )
        )
    )


def _apgd_targeted(effort: Effort) -> RadiusAttack:
    return lambda hunt, rows, epsilon, block: run_apgd_targeted(
        hunt, rows, epsilon, steps=effort.steps, targets=effort.targets, block=block
    )


def _square(effort: Effort) -> RadiusAttack:
    return lambda hunt, rows, epsilon, block: run_square(
        hunt, rows, epsilon, queries=effort.queries, block=block
    )


def _noise(effort: Effort) -> RadiusAttack:
    return lambda hunt, rows, epsilon, block: run_noise(
        hunt, rows, epsilon, draws=max(10, effort.queries // 10), block=block
    )


CATALOGUE: dict[str, Attack] = {
    "fgsm": Attack("one step of steepest ascent of the cross-entropy", _bisected(_fgsm)),
    "fgsm-20": Attack("20 sign steps of a tenth of the radius", _bisected(_fgsm20), (Norm.LINF,)),
    "pgd": Attack("PGD on the margin", _pgd(Loss.MARGIN)),
    "pgd-ce": Attack("PGD on the cross-entropy", _pgd(Loss.CE)),
    "pgd-adam": Attack("PGD on the margin, Adam steps", _pgd(Loss.MARGIN, _adam), (Norm.LINF,)),
    "multi-targeted": Attack("PGD towards each other class", _bisected(_multi_targeted)),
    "random-targeted": Attack("PGD towards a class drawn once", _bisected(_random_targeted)),
    "fmn": Attack(
        "fast minimum norm",
        lambda hunt, e: run_fmn(hunt, hunt.correct, steps=e.descent_steps, rivals=e.targets),
    ),
    "ddn": Attack(
        "decoupled direction and norm",
        lambda hunt, e: run_ddn(hunt, hunt.correct, steps=e.descent_steps),
        (Norm.L2,),
    ),
    "deepfool": Attack(
        "steps onto the linearised boundary",
        lambda hunt, e: run_deepfool(hunt, hunt.correct, steps=50, classes=e.targets),
        _NOT_L1,
    ),
    "apgd-ce": Attack("Auto-PGD on the cross-entropy", _apgd(ratio=False), _NOT_L1),
    "apgd-dlr": Attack("Auto-PGD on the ratio of logit differences", _apgd(ratio=True), _NOT_L1),
    "apgd-targeted": Attack(
        "Auto-PGD towards each other class", _bisected(_apgd_targeted), _NOT_L1
    ),
    "cw": Attack(
        "Carlini & Wagner",
        lambda hunt, e: run_carlini_wagner(hunt, hunt.correct, steps=e.descent_steps),
        (Norm.L2,),
    ),
    "logbarrier": Attack(
        "logarithmic barrier, from inside",
        lambda hunt, e: run_log_barrier(hunt, hunt.correct, steps=2 * e.descent_steps),
        _NOT_L1,
    ),
    "boundary": Attack(
        "walk along the boundary, labels only",
        lambda hunt, e: run_boundary(hunt, hunt.correct, queries=10 * e.queries),
        (Norm.L2,),
        gradient=False,
    ),
    "spatial": Attack(
        "worst of ten rotations and translations",
        lambda hunt, _: run_spatial(hunt, hunt.correct),
        gradient=False,
    ),
    "square": Attack("random squares, scores only", _bisected(_square), gradient=False),
    "noise": Attack("random points of the ball", _bisected(_noise), gradient=False),
    "gaussian": Attack(
        "Gaussian noise that grows",
        lambda hunt, _: run_gaussian(hunt, hunt.correct),
        gradient=False,
    ),
}
"""Every attack by name. Those at a radius look for the smallest one by bisection."""

_SUITES: dict[Suite, tuple[str, ...]] = {
    Suite.QUICK: ("fmn", "pgd"),
    Suite.STANDARD: ("fmn", "ddn", "deepfool", "pgd", "pgd-adam", "apgd-ce", "multi-targeted"),
    Suite.THOROUGH: (
        *("fgsm", "fmn", "ddn", "deepfool", "cw", "pgd", "pgd-ce", "pgd-adam", "multi-targeted"),
        *("apgd-ce", "apgd-dlr", "apgd-targeted", "square", "gaussian"),
    ),
}
_GRADIENT_FREE = ("gaussian", "noise", "square", "boundary")


def attacks_of(
    suite: Suite, named: tuple[str, ...], norm: Norm, *, differentiable: bool
) -> tuple[str, ...]:
    """Names of the attacks of a run, in their order.

    The suite's attacks that have the norm; without gradients a search by noise and scores instead.
    ``named`` attacks replace the suite.

    Raises:
        InvalidParameterError: an unknown name, or an attack without that norm or without gradients.
    """
    if not named:
        names = _SUITES[suite] if differentiable else _GRADIENT_FREE
        return tuple(name for name in names if norm in CATALOGUE[name].norms)
    for name in named:
        attack = CATALOGUE.get(name)
        if attack is None:
            message = f"there is no attack called {name!r}"
            raise InvalidParameterError(message, hint=f"known attacks: {', '.join(CATALOGUE)}")
        if norm not in attack.norms:
            message = f"the attack {name} has no norm {norm}"
            raise InvalidParameterError(message, hint=f"it has {', '.join(attack.norms)}")
        if attack.gradient and not differentiable:
            message = f"the attack {name} needs gradients, and the model has no twin"
            raise InvalidParameterError(message, hint=f"use {', '.join(_GRADIENT_FREE)}")
    return tuple(dict.fromkeys(named))


def run(hunt: Hunt, names: tuple[str, ...], effort: Effort, *, restarts: int | None = None) -> None:
    """Run the attacks of ``names`` one after the other within a hunt."""
    if restarts is not None:
        effort = replace(effort, restarts=restarts)
    for name in names:
        hunt.finder = name
        CATALOGUE[name].run(hunt, effort)
