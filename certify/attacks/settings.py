"""Settings of `robcert attack`, with every default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from robcert.certify.core import Norm, Profile
from robcert.certify.errors import require_at_least, require_positive

from .suites import Suite


@dataclass(frozen=True, slots=True)
class AttackSettings:
    """Everything that changes a row.

    Attributes:
        norm: norm of the distance.
        suite: which attacks, and how hard they try.
        attacks: attacks by name instead of the suite's; ``suite`` still says how hard they try.
        restarts: runs at one radius; None for the suite's number.
        save_images: keep the nearest adversarial images.
        radii: attacks at a radius search at these, pixel units; none: at the smallest that
            succeeds, found by bisection.
        every_step: PGD takes all of its steps, also where the boundary is out of reach.
        round_8_bit: also ask about each nearest image after rounding to multiples of 1/255.
    """

    norm: Norm = Norm.LINF
    suite: Suite = Suite.STANDARD
    attacks: tuple[str, ...] = ()
    restarts: int | None = None
    save_images: bool = False
    radii: tuple[float, ...] = ()
    every_step: bool = False
    round_8_bit: bool = False

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; what it does not name has its default."""
        changed = {
            "quick": cls(suite=Suite.QUICK),
            "thorough": cls(suite=Suite.THOROUGH),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.restarts is not None:
            require_at_least("restarts", self.restarts, 1)
        for radius in self.radii:
            require_positive("radius", radius)
