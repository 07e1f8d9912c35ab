"""What every `robcert train METHOD` does around its one library call."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from robcert.certify.errors import InvalidParameterError

from ..shell.invocation import remember_saved
from ..shell.options import TrainOptions
from ..shell.progress import TerminalProgress
from ..shell.render import print_warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.trainers.loop import EpochRecord, Processes
    from robcert.trainers.recipe import TrainConfig
    from robcert.trainers.train import Trained


def run_training(options: TrainOptions, method: str, **of_method: Any) -> None:
    """Train, say what was decided, print the path of the ONNX file.

    Args:
        options: the shared options.
        method: name of the method.
        of_method: its own options by the names of its fields; None is the default.
    """
    from robcert.certify.importer import torch_device
    from robcert.trainers.loop import launched
    from robcert.trainers.train import train

    config, first = configs(options, method, set_options(**of_method))
    device = torch_device(options.device)
    processes = launched(options.devices, device)
    _tune_torch(options.threads, processes.on_this_machine)
    out = options.out or Path("runs") / method
    with _told_once(processes, out), TerminalProgress(quiet=options.quiet) as progress:
        trained = train(
            config,
            out=out,
            first=first,
            data_root=options.data_root,
            device=processes.device or device,
            resume=options.resume,
            overwrite=options.overwrite,
            processes=processes,
            progress=progress,
            on_note=None if options.quiet else _print_note,
            on_epoch=None if options.quiet else _print_epoch,
        )
    if processes.first:
        _print_result(trained, quiet=options.quiet)


def _print_result(trained: Trained, *, quiet: bool) -> None:
    for line in trained.run.warnings:
        print_warning(line)
    typer.echo(str(trained.model))
    if not quiet:
        typer.echo(f"next: robcert audit --model {trained.model}", err=True)


@contextlib.contextmanager
def _told_once(processes: Processes, out: Path) -> Iterator[None]:
    """Of an interruption, which all meet, the first process tells; the others end silently."""
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
    """CPU threads of this process, which shares the processors with others."""
    from ..shell.session import tune_torch

    if threads is None and processes > 1:
        threads = max(1, (os.cpu_count() or 1) // processes)
    tune_torch(threads)


def configs(
    options: TrainOptions, method: str, of_method: dict[str, Any]
) -> tuple[TrainConfig, TrainConfig | None]:
    """The run, and that of the network it starts from where a preset names one.

    The recipe, the config file's run or the defaults, with the options on top; the shared options
    hold for the first network too.

    Raises:
        InvalidParameterError: the recipe or file does not exist or is of another method, or a
            value breaks its rule.
    """
    from robcert.trainers.methods import METHODS
    from robcert.trainers.recipe import TrainConfig, decoded, preset

    base, first = TrainConfig(objective=METHODS[method]()), None
    if options.preset is not None and options.config is not None:
        message = "--preset and --config exclude each other"
        raise InvalidParameterError(message)
    if options.preset is not None:
        recipe = preset(options.preset)
        base = _of_method(recipe.config, method, f"{options.preset} is a recipe")
        if recipe.first:
            first = _with_shared(preset(recipe.first).config, options)
    elif options.config is not None:
        base = _of_method(_read_config(options.config), method, f"{options.config} is a config")
    objective: Any = base.objective
    changed = decoded(METHODS[method], {**asdict(objective), **of_method}, f"train {method}")
    return replace(_with_shared(base, options), objective=changed), first


def set_options(**options: Any) -> dict[str, Any]:
    """Those of ``options`` that were typed."""
    return {name: value for name, value in options.items() if value is not None}


def _with_shared(base: TrainConfig, options: TrainOptions) -> TrainConfig:
    """``base`` with the shared options that were given on top."""
    from robcert.trainers.networks import allow

    if options.arch is not None:
        allow(options.arch)
    architecture = set_options(
        name=options.arch,
        activation=options.activation,
        width=options.width,
        denoise=options.denoise,
    )
    changes = set_options(crop=options.crop, flip=options.flip, cutout=options.cutout)
    descent = set_options(learning_rate=options.learning_rate, weight_decay=options.weight_decay)
    looks = set_options(keep_every=options.keep_every, attack_every=options.attack_every)
    return replace(
        base,
        architecture=replace(base.architecture, **architecture),
        augmentation=replace(base.augmentation, **changes),
        optimizer=replace(base.optimizer, **descent),
        schedule=replace(base.schedule, **set_options(kind=options.schedule)),
        evaluation=replace(base.evaluation, **looks),
        **set_options(
            data=options.data,
            validation=options.validation,
            subset=options.subset,
            epochs=options.epochs,
            batch_size=options.batch_size,
            precision=options.precision,
            seed=options.seed,
            init_from=options.init_from,
        ),
    )


def _of_method(config: TrainConfig, method: str, what: str) -> TrainConfig:
    if config.method != method:
        message = f"{what} of the method {config.method}, not of {method}"
        raise InvalidParameterError(message, hint=f"robcert train {config.method}")
    return config


def _read_config(path: Path) -> TrainConfig:
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
    """One line on stderr."""
    typer.echo(f"note: {line}", err=True)


def _print_epoch(record: EpochRecord) -> None:
    """One line an epoch on stderr."""
    facts = ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}"
        for name in ("loss", "train_accuracy", "accuracy", "attacked_accuracy", "images_per_second")
        if (value := getattr(record, name, None)) is not None
    )
    typer.echo(f"epoch {record.epoch}: {facts}", err=True)
