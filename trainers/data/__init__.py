"""Training images, their sources, and the division of batches among processes."""

from .augmentation import Augmentation
from .images import (
    EpochDraws,
    LabelledImages,
    TrainingImages,
    channel_statistics,
    epoch_order,
    in_order,
)
from .process_slice import WHOLE_BATCH, ProcessSlice
from .sources import (
    AS_STORED,
    DEFAULT_DATA,
    TRY_OUT_DATA,
    Reading,
    Split,
    default_images,
    held_out_rows,
    training_images,
)
from .streamed import StreamedImages, living_readers, usual_readers

__all__ = [
    "AS_STORED",
    "DEFAULT_DATA",
    "TRY_OUT_DATA",
    "WHOLE_BATCH",
    "Augmentation",
    "EpochDraws",
    "LabelledImages",
    "ProcessSlice",
    "Reading",
    "Split",
    "StreamedImages",
    "TrainingImages",
    "channel_statistics",
    "default_images",
    "epoch_order",
    "held_out_rows",
    "in_order",
    "living_readers",
    "training_images",
    "usual_readers",
]
