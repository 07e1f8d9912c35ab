"""Settings of `robcert verify`, and the guarantee of its certificates in words."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

from robcert.certify.attacks import AttackSettings, Suite, default_epsilons
from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError, require_seconds

from .outcome import Arithmetic, Method

if TYPE_CHECKING:
    from robcert.certify.core import Profile

PROOF = 3
"""Number of the procedure: it rises when equal settings would give other rows than before."""

QUICK_SUITE = AttackSettings(suite=Suite.QUICK)

_SECONDS: dict[Profile, float] = {"quick": 2.0, "standard": 10.0, "thorough": 60.0}

_IN_AUDIT: dict[Profile, tuple[float, Method]] = {
    "quick": (1.0, Method.CROWN_IBP),
    "standard": (3.0, Method.AUTO),
    "thorough": (20.0, Method.AUTO),
}
"""Budget and method of each profile of an audit, where the proofs are one part of seven. Quick has
the method whose cost is a few passes per image, so that its budget ends no proof."""


@dataclass(frozen=True, slots=True)
class VerificationSettings:
    """Settings that the rows depend on.

    Attributes:
        norm: norm of the perturbations.
        epsilons: radii at which each image is decided, pixel units; the first is the headline's.
            Empty: those of the attacks' curve, with the usual one of the norm first.
        seconds: wall-clock budget per image.
        method: how margins are bounded.
        arithmetic: the evaluation of the network that certificates speak about.
        attack: the suite that runs first; what it breaks is not proved. Its norm and the radii
            that it reports are those of these settings.
        save_images: keep the nearest adversarial images, also those that only a proof met.
    """

    norm: Norm = Norm.LINF
    epsilons: tuple[float, ...] = ()
    seconds: float = _SECONDS["standard"]
    method: Method = Method.AUTO
    arithmetic: Arithmetic = Arithmetic.FLOAT32
    attack: AttackSettings = QUICK_SUITE
    save_images: bool = False

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile: the budget per image; the others have their defaults."""
        return cls(seconds=_SECONDS.get(profile, _SECONDS["standard"]))

    @classmethod
    def of_audit(
        cls,
        profile: Profile,
        *,
        attack: AttackSettings,
        epsilon: float,
        epsilons: tuple[float, ...] = (),
    ) -> Self:
        """Settings of the part of an audit, whose attacks are those of the audit itself.

        Args:
            profile: quick, standard or thorough.
            attack: settings of the audit's attacks; their table is read, not computed again.
            epsilon: radius of the audit's parts that have one.
            epsilons: radii of the audit's curve of robust accuracy; empty for the attack's own.
        """
        seconds, method = _IN_AUDIT.get(profile, _IN_AUDIT["standard"])
        return cls(
            norm=attack.norm,
            epsilons=epsilons or (epsilon, *default_epsilons(attack.norm)),
            seconds=seconds,
            method=method,
            attack=attack,
        )

    def __post_init__(self) -> None:
        """Check the numbers; the attack gets the norm of the proofs.

        Raises:
            InvalidParameterError: a number has no valid value, or the attacks do not search for
                the smallest distance.
        """
        require_seconds("seconds", self.seconds)
        for epsilon in self.epsilons:
            self.norm.require_epsilon(epsilon)
        if self.attack.epsilons:
            message = "the attacks before a proof search for the smallest distance"
            raise InvalidParameterError(message, hint="omit the attacks' epsilons")
        kept = self.attack.save_images or self.save_images
        attack = replace(self.attack, norm=self.norm, save_images=kept)
        object.__setattr__(self, "attack", attack)

    @property
    def radii(self) -> tuple[float, ...]:
        """Radii at which each image is decided, pixel units; the first is the headline's."""
        usual = (self.norm.usual_radius, *default_epsilons(self.norm))
        return tuple(dict.fromkeys(self.epsilons or usual))

    def stored(self) -> dict[str, object]:
        """The settings as results files hold them."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "epsilons": self.radii, "proof": PROOF}


def guarantee(norm: str, arithmetic: Arithmetic, *, integer_input: bool = False) -> str:
    """The guarantee of the certificates, in one sentence."""
    where = f"Within the certified {norm} radius of an image, pixels in [0, 1]"
    if integer_input:
        where += " on the levels of the input"
    holds = {
        Arithmetic.FLOAT32: "for every evaluation of the network in float32, in whatever order "
        "its sums are taken",
        Arithmetic.REAL: "in real arithmetic for the stored weights, without the rounding "
        "of a runtime",
    }[arithmetic]
    return (
        f"{where}, no input has another class: this holds for the model itself, not for a smoothed "
        f"one, without probability, and {holds}."
    )
