"""`robcert train`: images, training loop and ONNX export in one call."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robcert.certify.core import Progress, silent
from robcert.certify.errors import TrainingError
from robcert.trainers.data import DEFAULT_DATA, TRY_OUT_DATA, Split, default_images, training_images
from robcert.trainers.loop import ALONE, MODEL, STATE, OnEpoch, Processes, RunPlan, RunResult, fit
from robcert.trainers.methods import Standard

from .export import export_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from robcert.trainers.recipe import TrainConfig

FIRST = "first"
"""Folder, inside the run folder, of the network that provides the initial weights."""

OnNote = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """Configuration, folder and devices of a training.

    Attributes:
        config: everything that determines the result.
        out: run folder.
        pretraining: training of the network that provides the initial weights. If None, a method
            that starts from a trained network gets one trained with the same settings on the
            cross-entropy.
        data_root: folder of the standard data sets; None for the user's cache.
        fetch: whether a standard data set may be downloaded.
        substitute: whether the bundled images replace the default data set if that is not
            available; False where the user named it.
        device: device to train on.
        processes: the processes that share the run; all of them use one run folder.
    """

    config: TrainConfig
    out: Path
    pretraining: TrainConfig | None = None
    data_root: Path | None = None
    fetch: bool = True
    substitute: bool = True
    device: torch.device | str = "cpu"
    processes: Processes = ALONE


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run and its ONNX file."""

    run: RunResult
    model: Path


def train(
    plan: TrainPlan,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
    on_note: OnNote | None = None,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train according to ``plan`` and export the network as ONNX.

    Where several processes share the run, each of them calls this function.

    Args:
        plan: configuration of the training.
        resume: continue the run in the folder; a run that was interrupted before its first
            checkpoint starts again.
        overwrite: delete a run that is in the folder.
        progress: called with the number of batches done in each epoch.
        on_note: called with each decision about the images, before training starts.
        on_epoch: called with the record of each finished epoch.

    Raises:
        DataError: the images are not available.
        InvalidParameterError: the training ends before its warm-up or one of its milestones.
        TrainingError: the folder contains a run and neither ``resume`` nor ``overwrite`` is given,
            or the training failed.
        KeyboardInterrupt: after Ctrl-C, with the state saved.
    """
    plan.config.require_reached()
    if plan.pretraining is not None:
        plan.pretraining.require_reached()
    _require_free(plan, resume=resume, overwrite=overwrite)
    begun = (plan.out / STATE).is_file()
    split = _split(plan)
    if on_note is not None and plan.processes.first:
        for note in split.notes:
            on_note(note)
    if split.train.name.startswith(TRY_OUT_DATA):
        plan = replace(plan, config=replace(plan.config, data=TRY_OUT_DATA))
    run_plan = RunPlan(
        plan.config,
        split.train,
        split.evaluation,
        plan.out,
        _pretrained(plan, split, progress, on_epoch),
        plan.device,
        plan.processes,
    )
    run = fit(run_plan, resume=resume and begun, progress=progress, on_epoch=on_epoch)
    if plan.processes.first:
        export_checkpoint(plan.out)
    plan.processes.wait()
    return Trained(run, plan.out / MODEL)


def holds_run(folder: Path) -> bool:
    """Whether ``folder`` contains a run that can be resumed."""
    return (folder / STATE).is_file() or (folder / FIRST / STATE).is_file()


def _pretrained(
    plan: TrainPlan, split: Split, progress: Progress, on_epoch: OnEpoch | None
) -> Path | None:
    """Run folder with the initial weights, trained here or resumed; None if there is none."""
    config = plan.pretraining
    if config is None and plan.config.objective.starts_trained:
        config = replace(plan.config, objective=Standard())
    if config is None or plan.config.init_from is not None:
        return None
    out = plan.out / FIRST
    fit(
        RunPlan(
            config,
            split.train,
            split.evaluation,
            out,
            device=plan.device,
            processes=plan.processes,
        ),
        resume=(out / STATE).is_file(),
        progress=lambda task, done, total: progress(f"pretraining, {task}", done, total),
        on_epoch=on_epoch,
    )
    return out


def _split(plan: TrainPlan) -> Split:
    """Training and evaluation images of the plan."""
    config, root, fetch = plan.config, plan.data_root, plan.fetch
    if config.data == DEFAULT_DATA and plan.substitute:
        return default_images(root=root, fetch=fetch, validation=config.validation)
    return training_images(config.data, root=root, fetch=fetch, validation=config.validation)


def _require_free(plan: TrainPlan, *, resume: bool, overwrite: bool) -> None:
    """Delete a run in the folder if ``overwrite``, else raise unless it is to be resumed."""
    out, processes = plan.out, plan.processes
    occupied = holds_run(out)
    processes.wait()
    if out.is_file():
        message = f"{out} is a file, not a run folder"
        raise TrainingError(message)
    if resume or not occupied:
        return
    if not overwrite:
        message = f"{out} already contains a run"
        raise TrainingError(message, hint="resume it, overwrite it, or choose another folder")
    if processes.first:
        shutil.rmtree(out)
    processes.wait()
