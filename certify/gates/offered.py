"""Which numbers a run will compute, and at which radii, from its settings alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from robcert.certify.attacks import default_epsilons
from robcert.certify.smoothing import attainable_radii
from robcert.certify.tables import pixel

from .catalogue import (
    CERTIFIED,
    CERTIFIED_RADIUS,
    CLEAN,
    ESTIMATED,
    GAMMA,
    MASKING,
    MEDIAN,
    ROBUST,
    VERIFIED,
    VERIFIED_RADIUS,
    VIOLATIONS,
)

if TYPE_CHECKING:
    from robcert.certify.auditing import AuditSettings
    from robcert.certify.core import Norm
    from robcert.certify.verification import VerificationSettings

Offered = Mapping[str, tuple[float, ...]]
"""Numbers that a run computes, each with the radii of its curve; none for single numbers."""


def of_attack(norm: Norm, epsilons: tuple[float, ...]) -> Offered:
    """The numbers of the attacks at ``epsilons``, or at the default radii if there are none."""
    return {CLEAN: (), ROBUST: epsilons or default_epsilons(norm), MEDIAN: ()}


def of_verification(settings: VerificationSettings) -> Offered:
    """The numbers of the certificates of the model itself."""
    return {VERIFIED: settings.radii, VERIFIED_RADIUS: ()}


def of_audit(settings: AuditSettings) -> Offered:
    """The numbers of the parts that an audit runs."""
    offered: dict[str, tuple[float, ...]] = {CLEAN: ()}
    parts = settings.parts
    if "attack" in parts:
        offered |= of_attack(settings.attack.norm, settings.epsilons)
    if "verify" in parts:
        offered |= of_verification(settings.verify)
    if "smoothing" in parts:
        offered |= {CERTIFIED: attainable_radii(settings.smoothing), CERTIFIED_RADIUS: ()}
    if "bounds" in parts:
        offered |= dict.fromkeys(ESTIMATED, ())
    if "linearity" in parts:
        offered[GAMMA] = ()
    if "masking" in parts:
        offered[MASKING] = ()
    if "verify" in parts or ("attack" in parts and {"bounds", "linearity"} & {*parts}):
        offered[VIOLATIONS] = ()
    return offered


def names(offered: Offered) -> Iterator[str]:
    """The numbers that exist, with their radii."""
    for name, radii in offered.items():
        places = ", ".join(f"@{pixel(radius)}" for radius in radii)
        yield f"{name} (or {places})" if places else name
