"""The training loop. It is the same for all methods: an objective gives the losses of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robcert.certify.core import Progress, silent
from robcert.certify.errors import DataError
from robcert.trainers.data import living_readers

from .checkpoint import WEIGHTS
from .interrupt import DeferredInterrupt
from .run import Run, RunPlan
from .run_folder import BEST, EpochRecord
from .shortfalls import shortfalls

if TYPE_CHECKING:
    from pathlib import Path

OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: the run folder.
        checkpoint: weights after the last epoch.
        best: weights of the epoch with the highest accuracy on the evaluation images.
        records: measurements after each epoch.
        warnings: problems that did not end the run.
    """

    folder: Path
    checkpoint: Path
    best: Path
    records: list[EpochRecord]
    warnings: list[str]


def fit(
    plan: RunPlan,
    *,
    resume: bool = False,
    progress: Progress = silent,
    on_epoch: OnEpoch | None = None,
) -> RunResult:
    """Train according to ``plan`` and save everything in its folder.

    Where several processes share the run, each of them calls this function.

    Args:
        plan: the run.
        resume: continue the run in the folder; the result is bit by bit that of a run without
            interruption.
        progress: called with the number of batches done in each epoch.
        on_epoch: called with the record of each finished epoch.

    Raises:
        DataError: training and evaluation images have different shapes, or one cannot be read.
        TrainingError: the loss is not a finite number, or there is no run to resume.
        KeyboardInterrupt: after Ctrl-C, with the state saved.
    """
    run = Run(plan)
    if resume:
        run.resume()
    else:
        run.keep_start()
    with _deterministic(plan), DeferredInterrupt() as interrupt, living_readers():
        while run.position.epoch < run.passes:
            run.pass_over_data(interrupt, progress if plan.processes.first else silent)
            try:
                record = run.end_epoch()
            except DataError:  # of an evaluation image
                if not plan.processes.several:  # the others could not take part in saving
                    run.save()
                raise
            if on_epoch is not None and plan.processes.first:
                on_epoch(record)
    last, best = plan.out / WEIGHTS, plan.out / BEST
    position = run.position
    return RunResult(
        plan.out,
        last,
        best if best.is_file() else last,
        position.records,
        [*position.warnings, *shortfalls(run)],
    )


@contextmanager
def _deterministic(plan: RunPlan) -> Iterator[None]:
    """Deterministic kernels; the state of torch's own generators is restored at the end."""
    device = torch.device(plan.device)
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False),
    ):
        yield
