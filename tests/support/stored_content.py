"""What two results files of the same work must share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

TIMES = ("seconds", "created", "checksum", "command", "run")
"""What differs between two runs: times, what follows from them, and names of runs."""


def content(path: Path) -> dict[str, bytes]:
    """Every array and attribute of the file but times."""
    found: dict[str, bytes] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        for key, value in item.attrs.items():
            found[f"{name}@{key}"] = np.asarray(value).astype(str).tobytes()
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()]).tobytes() if item.dtype != object else b""

    with h5py.File(path) as file:
        file.visititems(add)
    return {name: value for name, value in found.items() if not name.endswith(TIMES)}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}
