"""The training loop. It knows no method: an objective gives losses, the loop does the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from robcert.certify.core import Progress, silent
from robcert.certify.errors import DataError

from .checkpoint import WEIGHTS
from .interrupt import DeferredInterrupt
from .processes import ALONE, Processes
from .run import Run
from .run_folder import BEST, EpochRecord

if TYPE_CHECKING:
    from robcert.trainers.data import TrainingImages
    from robcert.trainers.recipe import TrainConfig

OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        checkpoint: weights after the last epoch.
        best: weights of the epoch that did best on the evaluation images.
        warnings: what went wrong without ending the run.
    """

    folder: Path
    checkpoint: Path
    best: Path
    records: list[EpochRecord]
    warnings: list[str]


def fit(
    config: TrainConfig,
    images: TrainingImages,
    evaluation: TrainingImages,
    *,
    out: Path,
    start: Path | None = None,
    device: torch.device | str = "cpu",
    resume: bool = False,
    processes: Processes = ALONE,
    progress: Progress = silent,
    on_epoch: OnEpoch | None = None,
) -> RunResult:
    """Train on ``images`` and keep everything in the folder ``out``.

    Args:
        config: what to train and how.
        images: training images.
        evaluation: images that accuracy is measured on, never trained on.
        out: run folder, made if it is not there.
        start: checkpoint or run folder that the weights start from; by default the one that
            ``config`` names, else fresh weights.
        device: where to train.
        resume: go on where the run in ``out`` stopped, bit by bit as if it had not.
        processes: those that share the run; all of them call this.
        progress: told the images done in each epoch.
        on_epoch: told the record of each finished epoch.

    Raises:
        TrainingError: the loss is not a number, or there is nothing that can be resumed.
        KeyboardInterrupt: after Ctrl-C, with the state saved.
    """
    images = images.first(config.subset)
    if evaluation.image_shape != images.image_shape:
        message = f"training images are {images.image_shape}, the others {evaluation.image_shape}"
        raise DataError(message)
    if start is None and config.init_from is not None:
        start = Path(config.init_from)
    run = Run(
        config,
        images,
        evaluation,
        out,
        torch.device(device),
        start=start,
        processes=processes,
    )
    if resume:
        run.resume()
    cuda = [run.device] if run.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=cuda),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False),
        DeferredInterrupt() as interrupt,
    ):
        while run.position.epoch < run.passes:
            run.pass_over_data(interrupt, progress if processes.first else silent)
            record = run.end_epoch()
            if on_epoch is not None and processes.first:
                on_epoch(record)
    best = out / BEST if (out / BEST).is_file() else out / WEIGHTS
    return RunResult(out, out / WEIGHTS, best, run.position.records, run.position.warnings)
