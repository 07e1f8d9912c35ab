"""Settings of an audit: those of its parts, and which parts run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robcert.certify.attacks import AttackSettings
from robcert.certify.errors import InvalidParameterError
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.masking import MaskingSettings
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.smoothing import SmoothingSettings
from robcert.certify.verification import VerificationSettings

from .registry import ANALYSES

if TYPE_CHECKING:
    from robcert.certify.core import Norm, Profile

INSPECTION = "inspect"
"""The part that is not an analysis: facts about the model file."""

PARTS = (INSPECTION, *(row.name for row in ANALYSES if row.part))
"""Parts of an audit, in the order of its summary."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Settings of every part, and the radii of the curve of robust accuracy."""

    linearity: LinearitySettings
    bounds: BoundsSettings
    attack: AttackSettings
    verify: VerificationSettings
    smoothing: SmoothingSettings
    masking: MaskingSettings
    epsilons: tuple[float, ...] = ()
    parts: tuple[str, ...] = PARTS

    @classmethod
    def of_profile(
        cls,
        profile: Profile,
        *,
        norm: Norm,
        epsilon: float,
        epsilons: tuple[float, ...] = (),
        parts: tuple[str, ...] = PARTS,
    ) -> AuditSettings:
        """Settings of a profile.

        Args:
            profile: quick, standard or thorough.
            norm: norm of every part but smoothing, which is always in l2.
            epsilon: radius of the parts that have one.
            epsilons: radii of the curve of robust accuracy; empty for the attack's own.
            parts: parts to run.
        """
        attack = replace(AttackSettings.of_profile(profile), norm=norm, save_images=True)
        return cls(
            linearity=replace(LinearitySettings.of_profile(profile), norm=norm, epsilon=epsilon),
            bounds=replace(BoundsSettings.of_profile(profile), norm=norm, epsilon=epsilon),
            attack=attack,
            verify=VerificationSettings.of_audit(
                profile, attack=attack, epsilon=epsilon, epsilons=epsilons
            ),
            smoothing=SmoothingSettings.of_profile(profile),
            masking=replace(MaskingSettings.of_profile(profile), norm=norm, epsilon=epsilon),
            epsilons=epsilons,
            parts=parts,
        )


def selected(only: tuple[str, ...], skip: tuple[str, ...]) -> tuple[str, ...]:
    """The parts to run.

    Raises:
        InvalidParameterError: a name is not a part, or no part is left.
    """
    for name in (*only, *skip):
        if name not in PARTS:
            message = f"there is no part {name!r} of an audit"
            raise InvalidParameterError(message, hint=f"parts: {', '.join(PARTS)}")
    parts = tuple(part for part in PARTS if (not only or part in only) and part not in skip)
    if not parts:
        message = "--only and --skip leave no part to run"
        raise InvalidParameterError(message, hint="name fewer parts in --skip")
    return parts
