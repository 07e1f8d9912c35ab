"""Settings of `robcert linearity`, with every default."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.numerics import Loss

from .deviation import Search, Sided, adam_rule, halving_rule

if TYPE_CHECKING:
    from robcert.certify.core import Profile
    from robcert.certify.numerics import StepRule


class Steps(StrEnum):
    """Step rule of the search."""

    AUTO = "auto"  # Adam in linf, halving in l2 and l1
    ADAM = "adam"
    HALVING = "halving"
    BOTH = "both"  # in linf Adam from the first start and halving from the others


@dataclass(frozen=True, slots=True)
class LinearitySettings:
    """Settings that the rows depend on; the defaults are those of Qin et al. 2019.

    Attributes:
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        loss: loss that is linearised.
        sided: which deviations count.
        steps: gradient steps of each restart.
        rule: step rule.
        step_size: length of Adam's steps, pixel units.
        restarts: random initial perturbations.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    loss: Loss = Loss.CE
    sided: Sided = Sided.TWO
    steps: int = 50
    rule: Steps = Steps.AUTO
    step_size: float = 0.1
    restarts: int = 1

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; fields that it does not change keep their defaults."""
        changed = {
            "quick": cls(steps=20),
            "thorough": cls(steps=100, rule=Steps.BOTH, restarts=5),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive("epsilon", self.epsilon)
        require_positive("step_size", self.step_size)
        require_at_least("steps", self.steps, 1)
        require_at_least("restarts", self.restarts, 1)

    @property
    def search(self) -> Search:
        """Configuration of the search; images stay in the pixel box."""
        norm = Norm(self.norm)
        return Search(
            norm,
            Sided(self.sided),
            self.steps,
            self._rule(norm),
            self.restarts,
            first_rule=self._first_rule(norm),
        )

    @property
    def gradient_passes(self) -> int:
        """Gradients per image."""
        return 1 + self.search.n_gradients

    def _rule(self, norm: Norm) -> StepRule:
        adam = self.rule == Steps.ADAM or (self.rule == Steps.AUTO and norm is Norm.LINF)
        return adam_rule(self.step_size) if adam else halving_rule(norm, self.steps)

    def _first_rule(self, norm: Norm) -> StepRule | None:
        both = self.rule == Steps.BOTH and norm is Norm.LINF
        return adam_rule(self.step_size) if both else None
