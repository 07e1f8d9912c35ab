"""`robcert train`: images, training loop and ONNX export in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.core import Progress, silent
from robcert.certify.errors import RobcertError, TrainingError
from robcert.certify.file_lock import FileLock
from robcert.certify.whole_file import output_errors
from robcert.trainers.data import (
    DEFAULT_DATA,
    TRY_OUT_DATA,
    Reading,
    Split,
    default_images,
    training_images,
)
from robcert.trainers.loop import (
    ALONE,
    FIRST,
    MODEL,
    STATE,
    OnEpoch,
    Processes,
    RunPlan,
    RunResult,
    checkpoint_file,
    delete_run,
    fit,
    holds_run,
    initial_network,
    network_spec,
    own_files,
)
from robcert.trainers.methods import Standard

from .export import export_checkpoint

if TYPE_CHECKING:
    import torch

    from robcert.trainers.recipe import TrainConfig

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
        stream: whether images are read as needed; None if they would not fit into memory.
        workers: processes that read them, for each process of the run; 0 for that one itself.
    """

    config: TrainConfig
    out: Path
    pretraining: TrainConfig | None = None
    data_root: Path | None = None
    fetch: bool = True
    substitute: bool = True
    device: torch.device | str = "cpu"
    processes: Processes = ALONE
    stream: bool | None = None
    workers: int = 0


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
        overwrite: delete the files of a run that is in the folder, after everything else was
            checked; other files stay.
        progress: called with the number of batches done in each epoch.
        on_note: called with each decision about the images, before training starts.
        on_epoch: called with the record of each finished epoch.

    Raises:
        DataError: the images are not available.
        InvalidParameterError: the training ends before its warm-up or one of its milestones.
        TrainingError: the folder contains a run and neither ``resume`` nor ``overwrite`` is given,
            another training writes into it, ``overwrite`` would delete files that are no run's or
            the initial weights, or the training failed.
        KeyboardInterrupt: after Ctrl-C, with the state saved.
    """
    plan.config.require_reached()
    if plan.pretraining is not None:
        plan.pretraining.require_reached()
    with _held(plan):
        _require_free(plan, resume=resume, overwrite=overwrite)
        split = _split(plan)
        if not resume:
            _require_initial_weights(plan, split)
        if overwrite and not resume:
            _delete_run(plan)
        begun = (plan.out / STATE).is_file()
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
    config = plan.config
    reading = Reading(config.image_size, plan.stream, plan.workers)
    named = partial(training_images, config.data)
    found = default_images if config.data == DEFAULT_DATA and plan.substitute else named
    return found(
        root=plan.data_root, fetch=plan.fetch, validation=config.validation, reading=reading
    )


@contextlib.contextmanager
def _held(plan: TrainPlan) -> Iterator[None]:
    """Keep other trainings out of the run folder; the first of several processes does it for all.

    Raises:
        RobcertError: another training holds the folder, or it cannot be locked.
    """
    out, processes = plan.out.resolve(), plan.processes
    new, lock, problem = not out.exists(), None, None
    try:
        lock = _locked(out) if processes.first else None
    except RobcertError as error:
        problem = error
    if processes.any(flag=problem is not None):
        message = f"the first process cannot lock {out}"
        raise problem or TrainingError(message)
    try:
        yield
    finally:
        if lock is not None:
            if new:
                with contextlib.suppress(OSError):  # it holds a run, or was never made
                    out.rmdir()
            lock.release()


def _locked(out: Path) -> FileLock:
    with output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(out, TrainingError)


def _require_free(plan: TrainPlan, *, resume: bool, overwrite: bool) -> None:
    """Raise unless the folder is free, or its run is to be resumed or may be deleted."""
    out = plan.out
    if out.exists() and not out.is_dir():
        message = f"{out} is a file, not a run folder"
        raise TrainingError(message)
    if resume:
        return
    own, run = own_files(out), holds_run(out)
    if overwrite:
        if not own and out.is_dir() and any(out.iterdir()):
            message = f"{out} contains files but no run to overwrite"
            raise TrainingError(message, hint="choose another folder")
        return
    if run:
        message = f"{out} already contains a run"
        raise TrainingError(message, hint="resume it, overwrite it, or choose another folder")
    if own:
        message = f"{out} contains {own[0].relative_to(out)}, which the run would replace"
        raise TrainingError(message, hint="choose another folder")


def _require_initial_weights(plan: TrainPlan, split: Split) -> None:
    """Raise unless the weights that the training starts from can be read, and stay."""
    config = plan.config
    if config.init_from is None:
        return
    weights = checkpoint_file(Path(config.init_from))
    spec = network_spec(replace(config, normalize=False), split.train, split.evaluation)
    initial_network(spec, config.seed, weights)
    if weights.resolve() in [path.resolve() for path in own_files(plan.out)]:
        message = f"the initial weights {weights} are in the run folder {plan.out}"
        raise TrainingError(message, hint="write to another folder")


def _delete_run(plan: TrainPlan) -> None:
    plan.processes.wait()
    if plan.processes.first:
        delete_run(plan.out)
    plan.processes.wait()
