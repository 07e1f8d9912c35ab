"""Training images, their sources, and the division of batches among processes."""

from .images import Augmentation, TrainingImages, channel_statistics, epoch_order
from .process_slice import WHOLE_BATCH, ProcessSlice
from .sources import (
    DEFAULT_DATA,
    TRY_OUT_DATA,
    Split,
    default_images,
    held_out_rows,
    training_images,
)

__all__ = [
    "DEFAULT_DATA",
    "TRY_OUT_DATA",
    "WHOLE_BATCH",
    "Augmentation",
    "ProcessSlice",
    "Split",
    "TrainingImages",
    "channel_statistics",
    "default_images",
    "epoch_order",
    "held_out_rows",
    "training_images",
]
