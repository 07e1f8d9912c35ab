"""The guard that warns when a model's accuracy under attack collapses during training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run_folder import EpochRecord

COLLAPSE = 0.2
"""Accuracy under attack that a run must have had before its loss by half is worth a warning."""


def overfitting(before: list[EpochRecord], record: EpochRecord) -> list[str]:
    """A line if accuracy under attack has collapsed (Wong et al. 2020, arXiv:2001.03994)."""
    best = max((past.attacked_accuracy or 0.0 for past in before), default=0.0)
    if record.attacked_accuracy is None or record.attacked_accuracy > best / 2 or best < COLLAPSE:
        return []
    return [
        f"catastrophic overfitting: accuracy under attack fell from {best:.1%} to "
        f"{record.attacked_accuracy:.1%} by epoch {record.epoch}"
    ]
