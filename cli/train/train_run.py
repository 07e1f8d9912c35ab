"""Steps of every `robcert train METHOD` before and after its library call."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..shell.echo import echo
from ..shell.invocation import remember_saved
from ..shell.progress import TerminalProgress
from ..shell.render import print_warning
from ..shell.values import either
from .train_config import OwnOptions, recipe_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.trainers.loop import EpochRecord, Processes
    from robcert.trainers.methods import Objective
    from robcert.trainers.train import Trained

    from .train_options import TrainOptions

M = TypeVar("M", bound="Objective")


def run_training(options: TrainOptions, method: type[M], own: OwnOptions[M]) -> None:
    """Train, print notes and results, and finally the path of the ONNX file.

    Args:
        options: the shared options.
        method: class of the training method.
        own: the method's own options.
    """
    from robcert.certify.importer import torch_device
    from robcert.trainers.data import usual_readers
    from robcert.trainers.loop import launched
    from robcert.trainers.train import TrainPlan, train

    recipe = recipe_of(options, method, own)
    config = recipe.config
    device = torch_device(options.device)
    processes = launched(options.devices, device)
    _tune_torch(options.threads, processes.on_this_machine)
    out = options.out or Path("runs") / config.method
    plan = TrainPlan(
        config,
        out,
        pretraining=recipe.pretraining,
        data_root=options.data_root,
        substitute=options.data is None and options.config is None,
        device=processes.device or device,
        processes=processes,
        stream=options.stream,
        workers=either(options.workers, usual_readers(processes.on_this_machine)),
    )
    if processes.first and not options.quiet:
        for line in recipe.notes:
            _print_note(line)
    with _interrupted_once(processes, out), TerminalProgress(quiet=options.quiet) as progress:
        trained = train(
            plan,
            resume=options.resume,
            overwrite=options.overwrite,
            progress=progress,
            on_note=None if options.quiet else _print_note,
            on_epoch=None if options.quiet else _print_epoch,
        )
    if processes.first:
        _print_result(trained, quiet=options.quiet)


def _print_result(trained: Trained, *, quiet: bool) -> None:
    """Print warnings, the path of the ONNX file and the command that audits it."""
    for line in trained.run.warnings:
        print_warning(line)
    echo(str(trained.model))
    if not quiet:
        echo(f"next: robcert audit --model {trained.model}", err=True)


@contextlib.contextmanager
def _interrupted_once(processes: Processes, out: Path) -> Iterator[None]:
    """Context in which only the first process reports Ctrl-C, which all processes receive."""
    from robcert.trainers.loop import holds_run

    try:
        yield
    except KeyboardInterrupt:
        processes.part()
        remember_saved(holds_run(out))
        if processes.first:
            raise
        raise SystemExit(130) from None
    processes.part()


def _tune_torch(threads: int | None, processes: int) -> None:
    """Set the CPU threads of this process; by default the processes divide the cores."""
    from ..shell.session import tune_torch

    if threads is None and processes > 1:
        threads = max(1, (os.cpu_count() or 1) // processes)
    tune_torch(threads)


def _print_note(line: str) -> None:
    """Print one note on stderr."""
    echo(f"note: {line}", err=True)


def _print_epoch(record: EpochRecord) -> None:
    """Print one line per epoch on stderr."""
    facts = (
        ("loss", record.loss),
        ("train accuracy", record.train_accuracy),
        ("accuracy", record.accuracy),
        ("attacked accuracy", record.attacked_accuracy),
        ("images per second", record.images_per_second),
    )
    line = ", ".join(f"{name} {value:.4g}" for name, value in facts if value is not None)
    echo(f"epoch {record.epoch}: {line}", err=True)
