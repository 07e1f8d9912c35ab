"""Training images and where they come from."""

from .images import Augmentation, TrainingImages, channel_statistics, epoch_order
from .sources import DEFAULT_DATA, TRY_OUT_DATA, Split, default_images, training_images

__all__ = [
    "DEFAULT_DATA",
    "TRY_OUT_DATA",
    "Augmentation",
    "Split",
    "TrainingImages",
    "channel_statistics",
    "default_images",
    "epoch_order",
    "training_images",
]
