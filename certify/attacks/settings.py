"""Settings of `robcert attack`, with every default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from robcert.certify.core import Norm, Profile
from robcert.certify.errors import require_at_least, require_positive

from .catalogue import AS_PUBLISHED, RANDOM_TARGETED
from .suites import Suite

NO_CLASS_IS = "wrong"
"""What an image counts for whose scores are NaN; part of the stored settings of all attacks,
because their rows depend on it: earlier versions never counted it as adversarial."""

SEARCH = 4
"""Number of the search: it rises when equal settings would find other images than before."""

PER_ATTACK = "per_attack"
"""Stored with tables in which each attack has its own column; other tables lack it, as those of
earlier versions do."""

RANDOM_TARGET, ALL_IMAGES = "random_target", "all images"
"""Images that are moved to a randomly chosen class; stored with attacks that do so. In earlier
versions, whose tables lack it, these were correctly classified images that survived so far."""


GIVEN_RESTARTS = "given_restarts"
"""Whether the restarts are also those of attacks as a paper runs them; earlier versions, whose
tables lack it, kept the paper's."""


@dataclass(frozen=True, slots=True)
class AttackSettings:
    """Settings that the rows depend on.

    Attributes:
        norm: norm of the distance.
        suite: which attacks run, and their budget.
        attacks: attacks by name that replace the suite's; their budget is that of ``suite``.
        restarts: runs at one radius; None for the suite's number, or the paper's.
        save_images: keep the nearest adversarial images.
        epsilons: radii at which attacks at a radius search, pixel units; empty: at the smallest
            that succeeds, found by bisection.
        early_stopping: PGD stops on images whose boundary it cannot reach.
        round_8_bit: also classify each nearest image after rounding to multiples of 1/255.
        reported: radii whose robust accuracy is reported, pixel units. The search for the smallest
            distance first searches within each of them as with ``epsilons``; ``analyse`` fills
            them in.
        per_attack: each attack runs on every image, whatever the others found, and has a column of
            its own.
    """

    norm: Norm = Norm.LINF
    suite: Suite = Suite.STANDARD
    attacks: tuple[str, ...] = ()
    restarts: int | None = None
    save_images: bool = False
    epsilons: tuple[float, ...] = ()
    early_stopping: bool = True
    round_8_bit: bool = False
    reported: tuple[float, ...] = ()
    per_attack: bool = False

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; settings that it does not change have their defaults."""
        changed = {
            "quick": cls(suite=Suite.QUICK),
            "thorough": cls(suite=Suite.THOROUGH),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.restarts is not None:
            require_at_least("restarts", self.restarts, 1)
        for epsilon in (*self.epsilons, *self.reported):
            require_positive("epsilon", epsilon)

    def stored(self) -> dict[str, object]:
        """The settings by the names that they have in results files."""
        return {
            "norm": self.norm,
            "suite": self.suite,
            "attacks": self.attacks,
            "restarts": self.restarts,
            "save_images": self.save_images,
            "radii": self.epsilons,
            "every_step": not self.early_stopping,
            "round_8_bit": self.round_8_bit,
            "no_class": NO_CLASS_IS,
            "reported_radii": self.reported,
            "search": SEARCH,
            **({PER_ATTACK: True} if self.per_attack else {}),
            **({RANDOM_TARGET: ALL_IMAGES} if set(self.attacks) & set(RANDOM_TARGETED) else {}),
            **({GIVEN_RESTARTS: True} if self._restarts_published_attack else {}),
        }

    @property
    def _restarts_published_attack(self) -> bool:
        return self.restarts is not None and bool(set(self.attacks) & set(AS_PUBLISHED))
