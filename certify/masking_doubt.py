"""Images in doubt: they stand, and what is seen of them says that no gradient could have led.

Only these are searched for long, so that the verdict on such a model rests on attacks and not on a
look at its gradient, and an honest model pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .masking_checklist import ATTACKS, broken_by, climbs, known
from .masking_texts import OTHER_SLOPE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .classifier import ModelInfo
    from .masking_checklist import Columns


def in_doubt(columns: Columns, info: ModelInfo) -> NDArray[np.bool_]:
    """Images ``(b,)`` that are classified correctly, withstand everything, and show a sign.

    A sign is an attack that stands still or nowhere climbs, a gradient that is no number, an attack
    without a radius that fails, an answer that differs from call to call, or a gradient that is not
    the slope over small steps. A model without any gradient is not in doubt but unknown.
    """
    stands = (columns["correct"] == 1) & ~broken_by(columns, tuple(set(ATTACKS) & set(columns)))
    if not known(columns["pgd_ce"]).all():
        return np.zeros_like(stands)
    stuck = (columns["moved"] == 0) | ~climbs(columns)
    signs = stuck | (columns["gradient_nan"] == 1) | (columns["unbounded"] != 1)
    signs |= columns["answers_differ"] == 1
    return np.asarray(stands & (signs | shattered(info)))


def shattered(info: ModelInfo) -> bool:
    """Whether the gradient is not the runtime's slope over small steps."""
    mismatch = slope_mismatch(info)
    return mismatch is not None and mismatch > OTHER_SLOPE.threshold


def slope_mismatch(info: ModelInfo) -> float | None:
    """1 minus the correlation of gradient and differences; None where slopes decide nothing."""
    if info.parity is None or info.parity.gradient_correlation is None or info.straight_through:
        return None
    if info.random:  # differences of two draws are no slope
        return None
    return 1 - info.parity.gradient_correlation
