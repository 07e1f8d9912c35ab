"""Every analysis, one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.attacks import ATTACK, CORRUPTION, TRANSFER
from robcert.certify.landscape import SURFACE, TAYLOR
from robcert.certify.local_linearity import LINEARITY
from robcert.certify.masking import MASKING
from robcert.certify.radius_bounds import BOUNDS, BOUNDS_SAMPLE
from robcert.certify.smoothing import SMOOTHING, SMOOTHING_ATTACK, SMOOTHING_PREDICTION

from .schema import AUDIT, CLEAN

if TYPE_CHECKING:
    from robcert.certify.store import Schema

SCHEMAS: tuple[Schema, ...] = (
    CLEAN,
    LINEARITY,
    BOUNDS,
    BOUNDS_SAMPLE,
    SURFACE,
    TAYLOR,
    SMOOTHING,
    SMOOTHING_PREDICTION,
    SMOOTHING_ATTACK,
    ATTACK,
    TRANSFER,
    CORRUPTION,
    MASKING,
    AUDIT,
)
"""Every group that a results file can hold."""
