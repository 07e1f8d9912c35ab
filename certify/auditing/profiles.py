"""Settings of an analysis by its name, for callers that are told names."""

from __future__ import annotations

from typing import Any

from .registry import ANALYSES

SETTINGS = {row.name: row.settings for row in ANALYSES if row.settings is not None}


def settings_of(analysis: str, profile: str, **chosen: Any) -> Any:
    """Settings of ``analysis`` under ``profile``, with what the user ``chosen`` on top.

    Raises:
        InvalidParameterError: a chosen value breaks its rule.
    """
    from dataclasses import replace

    return replace(SETTINGS[analysis].of_profile(profile), **chosen)  # type: ignore[arg-type, type-var]
