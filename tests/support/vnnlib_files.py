"""Property files in both versions of VNN-LIB, written from boxes and constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def old_style(bounds: Sequence[tuple[object, object]], outputs: int, *unsafe: str) -> str:
    """Version 1.0: one assertion for each bound, and each of ``unsafe`` in an assertion."""
    lines = [f"(declare-const X_{i} Real)" for i in range(len(bounds))]
    lines += [f"(declare-const Y_{j} Real)" for j in range(outputs)]
    for i, (low, high) in enumerate(bounds):
        lines += [f"(assert (>= X_{i} {low}))", f"(assert (<= X_{i} {high}))"]
    return "\n".join([*lines, *(f"(assert {formula})" for formula in unsafe)]) + "\n"


def new_style(bounds: Sequence[tuple[object, object]], outputs: int, *unsafe: str) -> str:
    """Version 2.0: tensors of shape (1, n); ``unsafe`` has names like ``Y[0,1]``."""
    lines = [
        "(vnnlib-version <2.0>)",
        "(declare-network N",
        f"  (declare-input X real [1,{len(bounds)}])",
        f"  (declare-output Y real [1,{outputs}]))",
    ]
    for i, (low, high) in enumerate(bounds):
        lines.append(f"(assert (and (>= X[0,{i}] {low}) (<= X[0,{i}] {high})))")
    return "\n".join([*lines, *(f"(assert {formula})" for formula in unsafe)]) + "\n"


def written(folder: Path, text: str, name: str = "property.vnnlib") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
