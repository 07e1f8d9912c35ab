"""Suites: which attacks look for each image's nearest adversarial image, and how hard."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

from .catalogue import CATALOGUE
from .search.budget import AttackBudget

if TYPE_CHECKING:
    from robcert.certify.core import Norm

    from .search.state import SearchState


class Suite(StrEnum):
    """How much is spent on the search."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


BUDGETS = {
    Suite.QUICK: AttackBudget(10, 1, 3, 50, 6, 100),
    Suite.STANDARD: AttackBudget(20, 2, 9, 200, 7, 300),
    Suite.THOROUGH: AttackBudget(50, 5, 9, 1000, 8, 2000),
}

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


def without_radius(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that look for the smallest distance, whatever radii are given."""
    return tuple(name for name in names if not CATALOGUE[name].at_radius)


def run(
    state: SearchState,
    names: tuple[str, ...],
    budget: AttackBudget,
    *,
    restarts: int | None = None,
    radii: tuple[float, ...] = (),
    every_step: bool = False,
) -> None:
    """Run the attacks of ``names`` one after the other on a search state.

    What is given after ``budget`` takes the place of what it says.
    """
    budget = replace(
        budget,
        restarts=restarts or budget.restarts,
        radii=radii or budget.radii,
        every_step=every_step or budget.every_step,
    )
    for name in names:
        state.attack_name = name
        attack = CATALOGUE[name]
        # beside the runtime's threads torch's own slow both down
        with nullcontext() if attack.gradient else state.classifier.forward_only():
            attack.run(state, budget)
