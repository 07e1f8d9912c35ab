"""Suites: which attacks search for each image's nearest adversarial image, with what budget."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

import torch

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError

from .catalogue import CATALOGUE, RANDOM_TARGETED
from .search.budget import AttackBudget

if TYPE_CHECKING:
    from .search.state import SearchState


class Suite(StrEnum):
    """How much computation is spent on the search."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


BUDGETS = {
    Suite.QUICK: AttackBudget(10, 1, 3, 50, 6, 100, near=1.05),
    Suite.STANDARD: AttackBudget(20, 2, 9, 200, 7, 300),
    Suite.THOROUGH: AttackBudget(50, 5, 9, 1000, 8, 2000),
}

_SUITES: dict[Suite, tuple[str, ...]] = {
    Suite.QUICK: ("fmn", "ddn", "pgd", "apgd-targeted"),
    Suite.STANDARD: ("fmn", "ddn", "deepfool", "pgd", "pgd-adam", "apgd-ce", "multi-targeted"),
    Suite.THOROUGH: (
        *("fgsm", "fmn", "ddn", "deepfool", "cw", "pgd", "pgd-ce", "pgd-adam", "multi-targeted"),
        *("apgd-ce", "apgd-dlr", "apgd-targeted", "square", "gaussian"),
    ),
}
STARTS_AT_KNOWN = ("boundary", "hopskipjump", "logbarrier")
"""Attacks that start at the nearest known image: a nearer one may lead them further."""

_ONLY_NAMED = (("cw", Norm.LINF), ("boundary", Norm.LINF))
"""Attacks that run in that norm only if named: suites keep the attacks of their earlier tables."""

_GRADIENT_FREE = ("gaussian", "noise", "square", "boundary")


def attacks_of(
    suite: Suite, named: tuple[str, ...], norm: Norm, *, differentiable: bool
) -> tuple[str, ...]:
    """Names of the attacks of a run, in their order.

    The suite's attacks that support the norm, apart from those that run only if named; for a model
    without gradients attacks by noise, scores and labels instead. ``named`` attacks replace the
    suite.

    Raises:
        InvalidParameterError: a name is unknown, or an attack does not support the norm, or needs
            gradients that the model does not have, or two attacks have a random target.
    """
    if not named:
        names = _SUITES[suite] if differentiable else _GRADIENT_FREE
        supported = (name for name in names if norm in CATALOGUE[name].norms)
        return tuple(name for name in supported if (name, norm) not in _ONLY_NAMED)
    for name in named:
        attack = CATALOGUE.get(name)
        if attack is None:
            message = f"there is no attack called {name!r}"
            raise InvalidParameterError(message, hint=f"known attacks: {', '.join(CATALOGUE)}")
        if norm not in attack.norms:
            message = f"the attack {name} does not support the norm {norm}"
            raise InvalidParameterError(message, hint=f"it supports {', '.join(attack.norms)}")
        if attack.gradient and not differentiable:
            message = f"the attack {name} needs gradients, and the model has no twin"
            raise InvalidParameterError(message, hint=f"use {', '.join(_GRADIENT_FREE)}")
    towards_random = [name for name in dict.fromkeys(named) if name in RANDOM_TARGETED]
    if len(towards_random) > 1:
        message = f"{' and '.join(towards_random)} share the column of their success"
        raise InvalidParameterError(message, hint="run one after the other, into the same file")
    return tuple(dict.fromkeys(named))


def without_radius(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that minimise the distance, whatever radii are given."""
    return tuple(name for name in names if not CATALOGUE[name].at_radius)


def run(
    state: SearchState,
    names: tuple[str, ...],
    budget: AttackBudget,
    *,
    reported: tuple[float, ...] = (),
) -> None:
    """Run the attacks of ``names`` one after the other on a search state.

    With radii ``reported`` (pixel units) all attacks first run as with these ``epsilons``, then
    search for the smallest distance from there. So at those radii no image survives that the same
    attacks, held to them, break.
    """
    if reported:
        _run(state, names, replace(budget, epsilons=reported))
        _shrink(state, names)
        names = tuple(
            name for name in names if CATALOGUE[name].at_radius or name in STARTS_AT_KNOWN
        )
    _run(state, names, budget)


def _shrink(state: SearchState, names: tuple[str, ...]) -> None:
    """Shrink images that attacks at a radius found: they lie anywhere within that radius."""
    for name in names:
        rows = [at for at, found_by in enumerate(state.attack_names) if found_by == name]
        if rows and CATALOGUE[name].at_radius:
            state.attack_name = name
            some = torch.tensor(rows, device=state.batch.x.device)
            state.shrink_and_verify(some, state.x_adv[some])


def _run(state: SearchState, names: tuple[str, ...], budget: AttackBudget) -> None:
    for name in names:
        state.attack_name = name
        attack = CATALOGUE[name]
        # torch's threads would compete with the runtime's
        with nullcontext() if attack.gradient else state.classifier.forward_only():
            attack.run(state, budget)
