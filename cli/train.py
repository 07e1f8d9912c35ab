"""`robcert train METHOD`: a network, its checkpoint, its ONNX file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import TrainOptions, train_options
from .progress import TerminalProgress
from .run import given

if TYPE_CHECKING:
    from robcert.trainers.config import TrainConfig
    from robcert.trainers.run_folder import EpochRecord

train = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train a network; ends with an ONNX file and the line that audits it.",
)


@train.command()
@train_options
def standard(options: TrainOptions) -> None:
    """Plain training on cross-entropy.

    Prints measured accuracies, after each epoch.

    Example: robcert train standard --epochs 15 --out runs/standard
    """
    _train(options, "standard")


@train.command()
@train_options
def gaussian(
    options: TrainOptions,
    *,
    sigma: Annotated[
        float | None,
        typer.Option("--sigma", help="Noise level, pixel units of [0, 1].", show_default="0.25"),
    ] = None,
) -> None:
    """Training on Gaussian noise, so that randomized smoothing certifies something.

    Prints measured accuracies, after each epoch.

    Example: robcert train gaussian --sigma 0.25 --out runs/gaussian
    """
    _train(options, "gaussian", sigma=sigma)


def _train(options: TrainOptions, method: str, **of_method: Any) -> None:
    from robcert.certify.models import torch_device
    from robcert.trainers.train import train as run

    from .session import tune_torch

    tune_torch(options.threads)
    config = _config(options, method, given(**of_method))
    out = options.out or Path("runs") / method
    with TerminalProgress(quiet=options.quiet) as progress:
        trained = run(
            config,
            out=out,
            data_root=options.data_root,
            device=torch_device(options.device),
            resume=options.resume,
            overwrite=options.overwrite,
            progress=progress,
            on_epoch=None if options.quiet else _print_epoch,
        )
    for line in (*trained.notes, *trained.run.warnings):
        typer.echo(f"note: {line}", err=True)
    typer.echo(str(trained.model))
    typer.echo(f"next: robcert audit --model {trained.model}", err=True)


def _config(options: TrainOptions, method: str, of_method: dict[str, Any]) -> TrainConfig:
    """The config file's run or the defaults, with the options on top.

    Raises:
        InvalidParameterError: the file is no config, or is of another method.
    """
    from robcert.trainers.config import TrainConfig
    from robcert.trainers.registry import METHODS

    base = TrainConfig(objective=METHODS[method]())
    if options.config is not None:
        base = _read_config(options.config, method)
    architecture = given(name=options.arch, activation=options.activation, width=options.width)
    objective: Any = base.objective
    return replace(
        base,
        objective=replace(objective, **of_method),
        architecture=replace(base.architecture, **architecture),
        optimizer=replace(base.optimizer, **given(learning_rate=options.learning_rate)),
        **given(
            data=options.data,
            subset=options.subset,
            epochs=options.epochs,
            batch_size=options.batch_size,
            seed=options.seed,
            init_from=options.init_from,
        ),
    )


def _read_config(path: Path, method: str) -> TrainConfig:
    import json

    from robcert.certify.errors import InvalidParameterError
    from robcert.trainers.config import TrainConfig

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        message = f"{path} is not JSON: {error}"
        raise InvalidParameterError(message) from error
    if isinstance(content, dict):
        content = content.get("training", content)
    config = TrainConfig.from_json(content)
    if config.method != method:
        message = f"{path} is a config of the method {config.method}, not of {method}"
        raise InvalidParameterError(message, hint=f"robcert train {config.method}")
    return config


def _print_epoch(record: EpochRecord) -> None:
    """One line an epoch on stderr."""
    facts = ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}"
        for name in ("loss", "train_accuracy", "accuracy", "attacked_accuracy", "images_per_second")
        if (value := getattr(record, name, None)) is not None
    )
    typer.echo(f"epoch {record.epoch}: {facts}", err=True)
