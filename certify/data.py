"""Images and labels that a model is audited on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataInfo:
    """What identifies a data set; goes to ``/data`` of a results file."""

    name: str
    sha256: str
    size: int
