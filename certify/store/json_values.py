"""The object that `--json` prints, the same for every command."""

from __future__ import annotations

import dataclasses
import math
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one command.

    Attributes:
        command: name of the command.
        model: facts about the model file.
        data: name, hash and size of the image set, and which images were reported on.
        settings: all settings that the results depend on.
        summary: the command's numbers (keys: docs/cli.md).
        violations: the ledger, or empty for a command without radii.
        warnings: limitations of the numbers, one line each.
        results: path of the results file.
    """

    command: str
    model: dict[str, Any]
    data: dict[str, Any]
    settings: dict[str, Any]
    summary: dict[str, Any]
    violations: dict[str, Any]
    warnings: tuple[str, ...]
    results: str

    def to_json(self) -> dict[str, Any]:
        """One JSON object, without NaN or infinity."""
        return {
            "command": self.command,
            "robcert_version": version("robcert"),
            "model": plain(self.model),
            "data": plain(self.data),
            "settings": plain(self.settings),
            "summary": plain(self.summary),
            "violations": plain(self.violations),
            "warnings": list(self.warnings),
            "results": self.results,
        }


def plain(value: Any) -> Any:
    """``value`` in JSON's types; NaN and infinity, which JSON lacks, become null.

    >>> plain({"a": (1.0, float("nan")), "b": np.int64(3)})
    {'a': [1.0, None], 'b': 3}
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
