"""The training loop, the run folder with its checkpoints, and training in several processes."""

from .checkpoint import (
    checkpoint_file,
    load_checkpoint,
    load_network,
    read_description,
    write_whole,
)
from .loop import OnEpoch, RunResult, fit
from .processes import ALONE, Processes, launched
from .run import Run, RunPlan
from .run_folder import MODEL, STATE, EpochRecord, kept_checkpoints

__all__ = [
    "ALONE",
    "MODEL",
    "STATE",
    "EpochRecord",
    "OnEpoch",
    "Processes",
    "Run",
    "RunPlan",
    "RunResult",
    "checkpoint_file",
    "fit",
    "kept_checkpoints",
    "launched",
    "load_checkpoint",
    "load_network",
    "read_description",
    "write_whole",
]
