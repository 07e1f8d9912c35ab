"""How much work `--profile quick`, `standard` and `thorough` spend on each analysis.

`standard` is every analysis at its own defaults; the other two change only what is listed here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from robcert.certify.attacks import Suite

SETTINGS: dict[str, tuple[str, str]] = {
    "linearity": ("analyses.linearity", "LinearitySettings"),
    "bounds": ("analyses.bounds_settings", "BoundsSettings"),
    "smoothing": ("analyses.smoothing", "SmoothingSettings"),
    "smoothing_prediction": ("analyses.smoothing_prediction", "PredictionSettings"),
    "smoothing_attack": ("analyses.smoothing_attack", "SmoothingAttackSettings"),
    "attack": ("analyses.attack", "AttackSettings"),
    "transfer": ("analyses.transfer", "TransferSettings"),
    "masking": ("masking_evidence", "MaskingSettings"),
}
"""Analysis to the module and the frozen dataclass that holds its defaults."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "linearity": {"steps": 20},
        "bounds": {"blocks": 30, "block_size": 10, "points": 5, "steps": 8, "restarts": 1},
        "attack": {"suite": Suite.QUICK},
        "transfer": {"steps": 10},
        "smoothing": {"n": 2000, "radii": (0.25, 0.5)},
        "smoothing_prediction": {"n": 2000},
        "smoothing_attack": {"steps": 30, "draws": 8, "n": 5000},
        "masking": {
            "steps": 20,
            "restarts": 2,
            "queries": 200,
            "long_queries": 1000,
            "unbounded_steps": 50,
            "decision_queries": 0,
            "noisy_copies": 4,
        },
    },
    "standard": {},
    "thorough": {
        "bounds": {"steps": 40, "restarts": 4},
        "attack": {"suite": Suite.THOROUGH},
        "transfer": {"steps": 100},
        "linearity": {"steps": 100, "rule": "both", "restarts": 5},
        "masking": {
            "steps": 100,
            "restarts": 10,
            "queries": 2000,
            "long_queries": 5000,
            "decision_queries": 5000,
        },
        "smoothing_attack": {"steps": 150, "draws": 32},
    },
}


def defaults(analysis: str) -> Any:
    """The frozen dataclass of ``analysis`` with its own defaults."""
    module, name = SETTINGS[analysis]
    return getattr(import_module(f"robcert.certify.{module}"), name)()


def settings_of(analysis: str, profile: str, **chosen: Any) -> Any:
    """Settings of ``analysis`` under ``profile``, with what the user ``chosen`` on top.

    Raises:
        InvalidParameterError: a chosen value breaks its rule.
    """
    module, name = SETTINGS[analysis]
    kind = getattr(import_module(f"robcert.certify.{module}"), name)
    return kind(**{**PRESETS[profile].get(analysis, {}), **chosen})
