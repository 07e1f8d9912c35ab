"""`robcert train`: images, loop and export in one call."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robcert.certify.core import Progress, silent
from robcert.certify.errors import TrainingError
from robcert.trainers.data import DEFAULT_DATA, TRY_OUT_DATA, Split, default_images, training_images
from robcert.trainers.loop import ALONE, MODEL, STATE, OnEpoch, Processes, RunResult, fit
from robcert.trainers.methods import Standard

from .export import export_checkpoint

FIRST = "first"
"""Folder, within that of the run, of the clean network that some methods begin with."""

OnNote = Callable[[str], None]

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from robcert.trainers.recipe import TrainConfig


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run and its ONNX file."""

    run: RunResult
    model: Path


def train(
    config: TrainConfig,
    *,
    out: Path,
    first: TrainConfig | None = None,
    data_root: Path | None = None,
    fetch: bool = True,
    device: torch.device | str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    processes: Processes = ALONE,
    progress: Progress = silent,
    on_note: OnNote | None = None,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train as ``config`` says into the folder ``out``, and export the result as ONNX.

    Args:
        config: what to train and how; the default data set gives way to the bundled images where
            it cannot be had.
        out: run folder.
        first: how to train the network that the run starts from; None for the same settings on
            cross-entropy, where the method needs one at all.
        data_root: folder of the standard data sets; None for the user's cache.
        fetch: whether a standard data set may be downloaded.
        device: where to train.
        resume: go on with the run in ``out``, or begin it if it was interrupted before its first
            checkpoint.
        overwrite: throw away a run that is in ``out``.
        processes: those that share the run; all of them call this, with one folder for all.
        progress: told the batches done in each epoch.
        on_note: told what was decided about the images, before anything is trained.
        on_epoch: told the record of each finished epoch.

    Raises:
        DataError: the images cannot be had.
        TrainingError: ``out`` holds a run and neither ``resume`` nor ``overwrite`` is given, or
            the training failed.
        KeyboardInterrupt: after Ctrl-C, with the state saved.
    """
    _require_free(out, resume=resume, overwrite=overwrite, processes=processes)
    begun = (out / STATE).is_file()
    split = _split(config, data_root, fetch=fetch)
    if on_note is not None and processes.first:
        for note in split.notes:
            on_note(note)
    if split.train.name.startswith(TRY_OUT_DATA):
        config = replace(config, data=TRY_OUT_DATA)
    if first is None and config.objective.starts_trained:
        first = replace(config, objective=Standard())
    start = None
    if first is not None and config.init_from is None:
        start = out / FIRST
        _train_first(
            first,
            split,
            start,
            device=device,
            processes=processes,
            progress=progress,
            on_epoch=on_epoch,
        )
    run = fit(
        config,
        split.train,
        split.evaluation,
        out=out,
        start=start,
        device=device,
        resume=resume and begun,
        processes=processes,
        progress=progress,
        on_epoch=on_epoch,
    )
    if processes.first:
        export_checkpoint(out)
    processes.wait()
    return Trained(run, out / MODEL)


def holds_run(folder: Path) -> bool:
    """Whether ``folder`` holds something that can be resumed."""
    return (folder / STATE).is_file() or (folder / FIRST / STATE).is_file()


def _train_first(
    config: TrainConfig,
    split: Split,
    folder: Path,
    *,
    device: torch.device | str,
    processes: Processes,
    progress: Progress,
    on_epoch: OnEpoch | None,
) -> None:
    """Train the network that a run starts from, or go on with it."""
    fit(
        config,
        split.train,
        split.evaluation,
        out=folder,
        device=device,
        resume=(folder / STATE).is_file(),
        processes=processes,
        progress=lambda task, done, total: progress(f"first network, {task}", done, total),
        on_epoch=on_epoch,
    )


def _split(config: TrainConfig, root: Path | None, *, fetch: bool) -> Split:
    if config.data == DEFAULT_DATA:
        return default_images(root=root, fetch=fetch, validation=config.validation)
    return training_images(config.data, root=root, fetch=fetch, validation=config.validation)


def _require_free(out: Path, *, resume: bool, overwrite: bool, processes: Processes) -> None:
    """Make room for a run in ``out``, or raise in all processes alike."""
    occupied = holds_run(out)
    processes.wait()
    if out.is_file():
        message = f"{out} is a file, not a folder for a run"
        raise TrainingError(message)
    if resume or not occupied:
        return
    if not overwrite:
        message = f"{out} holds a run already"
        raise TrainingError(message, hint="resume it, overwrite it, or name another folder")
    if processes.first:
        shutil.rmtree(out)
    processes.wait()
