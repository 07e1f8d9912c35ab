"""Settings of `robcert linearity`, with every default."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from robcert.certify.core import Norm
from robcert.certify.errors import (
    InvalidParameterError,
    require_at_least,
    require_positive,
)
from robcert.certify.numerics import Loss

from .deviation import Search, Sided, adam_rule, halving_rule
from .multistart import Multistart

if TYPE_CHECKING:
    from robcert.certify.core import Profile
    from robcert.certify.numerics import StepRule


STEP_SIZE = 0.1
"""Length of Adam's steps in Qin et al. 2019, pixel units."""


SEARCH = 2
"""Number of the search `multistart`: it rises when equal settings would find other rows."""


class Schedule(StrEnum):
    """How the largest deviation is searched for."""

    MULTISTART = "multistart"  # several starts, of which the best continue
    PAPER = "paper"  # independent ascents from random points (Qin et al. 2019)


class Steps(StrEnum):
    """Step rule of the schedule `paper`."""

    AUTO = "auto"  # Adam in linf, halving in l2 and l1
    ADAM = "adam"
    HALVING = "halving"
    BOTH = "both"  # in linf Adam from the first start and halving from the others


@dataclass(frozen=True, slots=True)
class LinearitySettings:
    """Settings that the rows depend on.

    Attributes:
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        loss: loss that is linearised.
        sided: which deviations count.
        steps: gradient steps of each ascent.
        rule: step rule of the schedule `paper`.
        step_size: length of Adam's steps in the schedule `paper`, pixel units.
        restarts: random initial perturbations; `multistart` has further ones.
        schedule: how the largest deviation is searched for.
        box: whether perturbed images stay in [0, 1]; Equation 6 of Qin et al. has the whole ball.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    loss: Loss = Loss.CE
    sided: Sided = Sided.TWO
    steps: int = 50
    rule: Steps = Steps.AUTO
    step_size: float = STEP_SIZE
    restarts: int = 10
    schedule: Schedule = Schedule.MULTISTART
    box: bool = True

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; fields that it does not change keep their defaults."""
        changed = {"quick": cls(steps=25, restarts=8), "thorough": cls(steps=100, restarts=20)}
        return changed.get(profile, cls())

    @classmethod
    def paper(cls, profile: Profile = "standard") -> Self:
        """Settings of a profile with the schedule `paper`; ``standard`` is that of Qin et al."""
        paper = cls(restarts=1, schedule=Schedule.PAPER)
        changed = {
            "quick": replace(paper, steps=20),
            "thorough": replace(paper, steps=100, rule=Steps.BOTH, restarts=5),
        }
        return changed.get(profile, paper)

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive("epsilon", self.epsilon)
        require_positive("step_size", self.step_size)
        require_at_least("steps", self.steps, 1)
        require_at_least("restarts", self.restarts, 1)
        own = self.step_size != STEP_SIZE or self.rule != Steps.AUTO
        if own and self.schedule == Schedule.MULTISTART:
            message = "step_size and rule are for the schedule paper; multistart chooses its steps"
            raise InvalidParameterError(message, hint="add schedule paper, or omit the step size")

    def stored(self) -> dict[str, object]:
        """The settings as results files hold them.

        Without the schedule where it is `paper`, and without the box where there is one: tables of
        earlier versions hold such rows.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.box:
            del values["box"]
        if self.schedule == Schedule.PAPER:
            del values["schedule"]
        else:
            values["search"] = SEARCH
        return values

    @property
    def search(self) -> Search | Multistart:
        """Configuration of the search."""
        norm, sided = Norm(self.norm), Sided(self.sided)
        if self.schedule == Schedule.MULTISTART:
            return Multistart(norm, sided, self.steps, self.restarts, box=self.box)
        return Search(
            norm,
            sided,
            self.steps,
            self._rule(norm),
            self.restarts,
            first_rule=self._first_rule(norm),
            box=self.box,
        )

    @property
    def gradient_passes(self) -> int:
        """Largest number of gradients per image."""
        return 1 + self.search.n_gradients

    def _rule(self, norm: Norm) -> StepRule:
        adam = self.rule == Steps.ADAM or (self.rule == Steps.AUTO and norm is Norm.LINF)
        return adam_rule(self.step_size) if adam else halving_rule(norm, self.steps)

    def _first_rule(self, norm: Norm) -> StepRule | None:
        both = self.rule == Steps.BOTH and norm is Norm.LINF
        return adam_rule(self.step_size) if both else None
