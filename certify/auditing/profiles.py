"""Settings of an analysis by its name, for callers that are told names."""

from __future__ import annotations

from typing import Any

from robcert.certify.attacks import AttackSettings, TransferSettings
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.masking import MaskingSettings
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.smoothing import PredictionSettings, SmoothingAttackSettings, SmoothingSettings

SETTINGS = {
    "linearity": LinearitySettings,
    "bounds": BoundsSettings,
    "smoothing": SmoothingSettings,
    "smoothing_prediction": PredictionSettings,
    "smoothing_attack": SmoothingAttackSettings,
    "attack": AttackSettings,
    "transfer": TransferSettings,
    "masking": MaskingSettings,
}


def settings_of(analysis: str, profile: str, **chosen: Any) -> Any:
    """Settings of ``analysis`` under ``profile``, with what the user ``chosen`` on top.

    Raises:
        InvalidParameterError: a chosen value breaks its rule.
    """
    from dataclasses import replace

    return replace(SETTINGS[analysis].of_profile(profile), **chosen)  # type: ignore[attr-defined]
