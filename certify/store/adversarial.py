"""The nearest adversarial image that a results file has of each image, by any of its analyses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .group import AnalysisGroup
    from .store import ResultStore

BY_DISTANCE = ("attack", "transfer", "verify")
"""Schemas whose tables hold the distance of an adversarial image in the column ``distance``."""

CHECKS = ("masking", "masking_round")
"""Schemas whose tables say which images have an adversarial image within one radius."""

CHECK_ATTACKS = (
    *("pgd_ce", "pgd_margin", "multi_targeted", "pgd_small_logits", "pgd_large_logits"),
    *("noise", "search", "label_search", "hopskipjump", "transfer", "transfer_start"),
    *("long_search", "inner", "averaged", "fgsm", "pgd_file"),
)
"""Columns of the masking check that are 1 where an attack within its radius succeeded."""


def nearest_adversarial(
    store: ResultStore,
    norm: str,
    indices: NDArray[np.int64],
    schemas: Sequence[str] = (*BY_DISTANCE, *CHECKS),
) -> NDArray[np.float64]:
    """Distances of the nearest adversarial images in ``norm`` ``(n,)``, of tables of ``schemas``.

    Attacked, pixel units; 0 where misclassified, inf where none is known. Where only the masking
    check has one, it is the radius of the check, within which that image lies.
    """
    nearest = np.full(len(indices), np.inf)
    for schema in schemas:
        for table in store.existing(schema):
            if ball_of(table)[0] == norm:
                by_check = schema in CHECKS
                distance = (
                    checked_distance(store, table, indices)
                    if by_check
                    else np.asarray(table.column("distance", indices), np.float64)
                )
                nearest = np.fmin(nearest, distance)  # NaN where the table has no row
    return nearest


def checked_distance(
    store: ResultStore, table: AnalysisGroup, indices: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Radius of a masking check at images that it broke, or a round of it; NaN elsewhere ``(n,)``.

    Where outputs differ between calls nothing counts as broken: there one wrong answer shows
    little.
    """
    columns = set(table.columns)
    names = [name for name in ("broken", *CHECK_ATTACKS) if name in columns]
    broken = np.logical_or.reduce([table.column(name, indices) == 1 for name in names])
    if "answers_differ" in columns:
        broken &= table.column("answers_differ", indices) != 1
    if store.model.get("random", False):
        broken = np.zeros_like(broken)
    return np.where(broken, ball_of(table)[1], np.nan)


def ball_of(table: AnalysisGroup) -> tuple[str, float]:
    """Norm of a table; radius of a masking check, NaN for others."""
    settings = table.settings.get("check", table.settings)  # a round holds those of its check
    checks = table.schema_name in CHECKS
    return str(settings["norm"]), float(settings["epsilon"]) if checks else float("nan")
