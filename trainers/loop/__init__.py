"""The training loop, the run folder with its checkpoints, and training in several processes."""

from .checkpoint import (
    checkpoint_file,
    load_checkpoint,
    load_network,
    read_description,
)
from .initial_weights import initial_network, network_spec
from .loop import OnEpoch, RunResult, fit
from .processes import ALONE, Processes, launched
from .run import Run, RunPlan
from .run_folder import (
    FIRST,
    MODEL,
    STATE,
    EpochRecord,
    delete_run,
    holds_run,
    kept_checkpoints,
    own_files,
)

__all__ = [
    "ALONE",
    "FIRST",
    "MODEL",
    "STATE",
    "EpochRecord",
    "OnEpoch",
    "Processes",
    "Run",
    "RunPlan",
    "RunResult",
    "checkpoint_file",
    "delete_run",
    "fit",
    "holds_run",
    "initial_network",
    "kept_checkpoints",
    "launched",
    "load_checkpoint",
    "load_network",
    "network_spec",
    "own_files",
    "read_description",
]
