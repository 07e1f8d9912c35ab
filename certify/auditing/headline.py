"""The robust accuracy that a verdict states first, and that `--fail-under` tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robcert.certify.attacks import AttackSummary, RobustAccuracy
    from robcert.certify.masking import MaskingSummary
    from robcert.certify.smoothing import CertifiedAccuracy, SmoothingSummary

SAME_RADIUS = 1e-9
"""Radii that differ by no more, in pixel units, are one radius written in two ways."""


def attacked_accuracy(
    attack: AttackSummary | None, check: MaskingSummary | None, epsilon: float | None = None
) -> RobustAccuracy | None:
    """Robust accuracy at ``epsilon``, or at the radius of the headline; None if there is none.

    The headline's radius is the default one of the attack, or the last one that is known. If the
    accuracy is smaller under the attacks of the masking check on the same images, it is theirs.
    """
    if attack is None:
        return None
    known = [entry for entry in attack.robust_accuracy if entry.value == entry.value]  # not NaN
    wanted = attack.headline_epsilon if epsilon is None else epsilon
    chosen = [entry for entry in known if abs(entry.epsilon - wanted) <= SAME_RADIUS]
    if not chosen and epsilon is None:
        chosen = known
    if not chosen:
        return None
    entry = chosen[-1]
    if check is None or (check.norm, check.corrected.n) != (attack.norm, attack.n):
        return entry
    same = abs(check.epsilon - entry.epsilon) <= SAME_RADIUS
    if not same or not check.corrected.value < entry.value:
        return entry
    best = check.corrected
    return replace(entry, value=best.value, lower=best.lower, upper=best.upper)


def certified_accuracy(
    smoothing: SmoothingSummary | None, radius: float | None = None
) -> CertifiedAccuracy | None:
    """Certified accuracy at ``radius``, or at the smallest positive radius of the curve."""
    entries = [] if smoothing is None else list(smoothing.certified_accuracy)
    if radius is not None:
        near = [entry for entry in entries if abs(entry.radius - radius) <= SAME_RADIUS]
        return near[-1] if near else None
    positive = [entry for entry in entries if entry.radius > 0]
    return min(positive, key=lambda entry: entry.radius, default=None)
