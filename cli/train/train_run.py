"""Steps of every `robcert train METHOD` before and after its library call."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from robcert.certify.errors import InvalidParameterError

from ..shell.invocation import remember_saved
from ..shell.progress import TerminalProgress
from ..shell.render import print_warning
from ..shell.values import either
from .train_options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.trainers.loop import EpochRecord, Processes
    from robcert.trainers.methods import Objective
    from robcert.trainers.recipe import TrainConfig
    from robcert.trainers.train import Trained

M = TypeVar("M", bound="Objective")


def run_training(options: TrainOptions, method: type[M], change: Callable[[M], M]) -> None:
    """Train, print notes and results, and finally the path of the ONNX file.

    Args:
        options: the shared options.
        method: class of the training method.
        change: sets the method's own options.
    """
    from robcert.certify.importer import torch_device
    from robcert.trainers.loop import launched
    from robcert.trainers.train import TrainPlan, train

    config, pretraining = configs(options, method, change)
    device = torch_device(options.device)
    processes = launched(options.devices, device)
    _tune_torch(options.threads, processes.on_this_machine)
    out = options.out or Path("runs") / config.method
    plan = TrainPlan(
        config,
        out,
        pretraining=pretraining,
        data_root=options.data_root,
        device=processes.device or device,
        processes=processes,
    )
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
    typer.echo(str(trained.model))
    if not quiet:
        typer.echo(f"next: robcert audit --model {trained.model}", err=True)


@contextlib.contextmanager
def _interrupted_once(processes: Processes, out: Path) -> Iterator[None]:
    """Context in which only the first process reports Ctrl-C, which all processes receive."""
    from robcert.trainers.train import holds_run

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


def configs(
    options: TrainOptions, method: type[M], change: Callable[[M], M]
) -> tuple[TrainConfig, TrainConfig | None]:
    """Configuration of the run, and of its pretraining if a preset has one.

    The options override the preset, the config file or the defaults. The shared options apply to
    the pretraining too.

    Args:
        options: the shared options.
        method: class of the training method.
        change: sets the method's own options.

    Raises:
        InvalidParameterError: the preset or file does not exist or is of another method, or a
            value is not allowed.
    """
    from robcert.trainers.recipe import TrainConfig, preset

    default = TrainConfig(objective=method())
    base, pretraining, source = default, None, "default"
    if options.preset is not None and options.config is not None:
        message = "--preset and --config exclude each other"
        raise InvalidParameterError(message)
    if options.preset is not None:
        recipe = preset(options.preset)
        base, source = recipe.config, f"the preset {options.preset}"
        if recipe.pretraining:
            pretraining = _with_shared(preset(recipe.pretraining).config, options)
    elif options.config is not None:
        base, source = _read_config(options.config), str(options.config)
    objective = base.objective
    if not isinstance(objective, method):
        message = f"{source} is of the method {base.method}, not {default.method}"
        raise InvalidParameterError(message, hint=f"robcert train {base.method}")
    return replace(_with_shared(base, options), objective=change(objective)), pretraining


def _with_shared(base: TrainConfig, options: TrainOptions) -> TrainConfig:
    """``base`` with the shared options that were given."""
    from robcert.trainers.networks import allow

    if options.arch is not None:
        allow(options.arch)
    base = _with_network_and_images(base, options)
    optimizer, evaluation = base.optimizer, base.evaluation
    return replace(
        base,
        epochs=either(options.epochs, base.epochs),
        batch_size=either(options.batch_size, base.batch_size),
        optimizer=replace(
            optimizer,
            learning_rate=either(options.learning_rate, optimizer.learning_rate),
            weight_decay=either(options.weight_decay, optimizer.weight_decay),
        ),
        schedule=replace(base.schedule, kind=either(options.schedule, base.schedule.kind)),
        evaluation=replace(
            evaluation,
            keep_every=either(options.keep_every, evaluation.keep_every),
            attack_every=either(options.attack_every, evaluation.attack_every),
        ),
        precision=either(options.precision, base.precision),
        seed=either(options.seed, base.seed),
        init_from=either(options.init_from, base.init_from),
    )


def _with_network_and_images(base: TrainConfig, options: TrainOptions) -> TrainConfig:
    """``base`` with the options of the architecture, the images and their augmentation."""
    network, augmentation = base.architecture, base.augmentation
    return replace(
        base,
        architecture=replace(
            network,
            name=either(options.arch, network.name),
            activation=either(options.activation, network.activation),
            width=either(options.width, network.width),
            denoise=either(options.denoise, network.denoise),
        ),
        augmentation=replace(
            augmentation,
            crop=either(options.crop, augmentation.crop),
            flip=either(options.flip, augmentation.flip),
            cutout=either(options.cutout, augmentation.cutout),
        ),
        data=either(options.data, base.data),
        validation=either(options.validation, base.validation),
        subset=either(options.subset, base.subset),
    )


def _read_config(path: Path) -> TrainConfig:
    """Configuration in a config.json: the whole file or only its ``training``."""
    import json

    from robcert.trainers.recipe import TrainConfig

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        message = f"{path} is not JSON: {error}"
        raise InvalidParameterError(message) from error
    if isinstance(content, dict):
        content = content.get("training", content)
    return TrainConfig.from_json(content)


def _print_note(line: str) -> None:
    """Print one note on stderr."""
    typer.echo(f"note: {line}", err=True)


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
    typer.echo(f"epoch {record.epoch}: {line}", err=True)
