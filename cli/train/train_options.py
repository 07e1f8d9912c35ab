"""The options that all training methods share, and helpers to declare a method's own options."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from robcert.certify import core
from robcert.certify.number_text import number

from ..shell import names
from ..shell.options import expand_options, norm_option
from ..shell.values import of_option

if TYPE_CHECKING:
    from collections.abc import Callable

Own = TypeVar("Own")


def quantity(name: str, doc: str, default: str | bool, *others: str) -> Any:
    """Option for a number that may be written as a fraction, such as 8/255.

    Args:
        name: name of the option.
        doc: meaning and unit of the number.
        default: default value, as shown in the help; False for none.
        others: further names of the same option.
    """

    def read(text: str) -> float:
        return of_option(name, number, text)

    return typer.Option(
        name, *others, help=doc, show_default=default, parser=read, metavar="<float>"
    )


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Values of the shared options of `robcert train METHOD`, as typed; None if not given."""

    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help="Training images: a data set's name, a file or a folder [default: fashion-mnist "
            "if it is available, else the bundled images].",
            autocompletion=names.completing(names.TRAINING_SETS),
        ),
    ] = None
    data_root: Annotated[
        Path | None, typer.Option("--data-root", help="Folder of the data sets given by name.")
    ] = None
    subset: Annotated[
        int | None, typer.Option("--subset", help="Number of training images: the first N only.")
    ] = None
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            help="Photographs of any size: side of the squares that are cut out of them, in "
            "training by a random resized crop, in evaluation from the centre; usually 224.",
        ),
    ] = None
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Read images as they are needed, or hold all of them in memory [default: hold up "
            "to 4 GiB].",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            help="Processes that read streamed images, per training process; 0 for none besides it "
            "[default: its cores, at most 8].",
        ),
    ] = None
    validation: Annotated[
        bool | None,
        typer.Option(
            "--validation/--no-validation",
            help="Choose the best epoch on held-out training images, or on the test images.",
            show_default="validation",
        ),
    ] = None
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            help="Architecture by name (see robcert architectures), or module:factory for a "
            "network in your own code.",
            show_default="cnn4",
            autocompletion=names.completing(names.ARCHITECTURES),
        ),
    ] = None
    activation: Annotated[
        Literal["relu", "softplus", "c2relu"] | None,
        typer.Option(
            "--activation",
            help="Activation function; c2relu is a twice differentiable ReLU.",
            show_default="relu",
        ),
    ] = None
    width: Annotated[
        int | None, typer.Option("--width", help="Number of channels of the first layer.")
    ] = None
    denoise: Annotated[
        bool | None,
        typer.Option(
            "--denoise/--no-denoise",
            help="Feature-denoising blocks in a residual network.",
            show_default="no-denoise",
        ),
    ] = None
    crop: Annotated[
        int | None,
        typer.Option(
            "--crop", help="Random crop: pixels of zero padding before it.", show_default="0"
        ),
    ] = None
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Random horizontal flip of half of the images.",
            show_default="no-flip",
        ),
    ] = None
    cutout: Annotated[
        int | None,
        typer.Option(
            "--cutout",
            help="Cutout: side in pixels of a random square that is set to zero.",
            show_default="0",
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Number of passes over the data.", show_default="15"),
    ] = None
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Images per step.", show_default="128")
    ] = None
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Largest learning rate.", show_default="0.05"),
    ] = None
    schedule: Annotated[
        Literal["constant", "steps", "cosine", "onecycle"] | None,
        typer.Option(
            "--schedule",
            help="Learning-rate schedule; steps falls at the milestones.",
            show_default="onecycle",
        ),
    ] = None
    milestones: Annotated[
        str | None,
        typer.Option(
            "--milestones",
            help="Epochs at which the learning rate of the schedule steps falls, such as 100,105.",
        ),
    ] = None
    decay: Annotated[
        float | None,
        quantity("--decay", "Factor of the learning rate at each milestone.", "0.1"),
    ] = None
    momentum: Annotated[
        float | None,
        typer.Option("--momentum", help="Momentum: factor of the last step.", show_default="0.9"),
    ] = None
    nesterov: Annotated[
        bool | None,
        typer.Option(
            "--nesterov/--no-nesterov", help="Nesterov's momentum.", show_default="no-nesterov"
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        typer.Option("--weight-decay", help="Weight decay.", show_default="0.0005"),
    ] = None
    weight_decay_scope: Annotated[
        Literal["all", "weights"] | None,
        typer.Option(
            "--weight-decay-scope",
            help="Weight decay of all parameters, or of weights only (not of biases and batch "
            "norms).",
            show_default="all",
        ),
    ] = None
    clip_norm: Annotated[
        str | None,
        typer.Option(
            "--clip-norm",
            help="Largest l2 norm of the whole gradient, or none for no clipping.",
            show_default="1",
        ),
    ] = None
    init_from: Annotated[
        str | None,
        typer.Option("--init-from", help="Initial weights: a run folder or checkpoint."),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="Recipe of a paper by name; other options override it.",
            autocompletion=names.presets,
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="File config.json of an earlier run; other options override it."
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of all random numbers.", show_default="0")
    ] = None
    device: Annotated[
        str, typer.Option("--device", help="Device: auto, cpu, cuda or, for example, cuda:1.")
    ] = "auto"
    devices: Annotated[
        int,
        typer.Option(
            "--devices",
            help="Number of processes that share every batch, each with its own GPU if there are "
            "GPUs. Under torchrun this option is ignored.",
        ),
    ] = 1
    precision: Annotated[
        Literal["32", "bf16-mixed", "16-mixed"] | None,
        typer.Option(
            "--precision",
            help="Number format of the layers; losses are computed in 32 bits.",
            show_default="32",
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            help="CPU threads per process [default: all cores, divided among the processes].",
        ),
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder [default: runs/METHOD].")
    ] = None
    keep_every: Annotated[
        int | None,
        typer.Option(
            "--keep-every",
            help="Checkpoints along the run: keep the initial weights and one every N epochs.",
            show_default="0",
        ),
    ] = None
    attack_every: Annotated[
        int | None,
        typer.Option(
            "--attack-every",
            help="Accuracy under a short attack: measure it every N epochs; 0 for never.",
            show_default="5",
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out, if there is one.")
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run in --out; other files stay.")
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False


def train_command(
    own: type[Own],
) -> Callable[[Callable[[TrainOptions, Own], None]], Callable[..., None]]:
    """Decorator of a command with the parameters ``options`` and ``own``.

    Each field of both dataclasses becomes one option, those of ``own`` first. The help of the
    command ends with the presets of its method.
    """

    def decorate(command: Callable[[TrainOptions, Own], None]) -> Callable[..., None]:
        expanded = expand_options(expand_options(command, own, "own"), TrainOptions)
        if presets := names.PRESETS.get(command.__name__):
            word = "Preset" if len(presets) == 1 else "Presets"
            listed = f"{word}: {', '.join(presets)}."
            expanded.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n{listed}"
        return expanded

    return decorate


Epsilon = Annotated[
    float | None, quantity("--epsilon", "Radius of the ball, pixel units of [0, 1].", "8/255")
]
Norm = Annotated[core.Norm | None, norm_option("Norm of the ball.", show_default="linf")]
Sigma = Annotated[
    float | None,
    quantity("--sigma", "Standard deviation of the noise, pixel units of [0, 1].", "0.25"),
]
Power = Annotated[
    Literal["squared", "norm"] | None,
    typer.Option(
        "--power", help="Penalty on the squared norm or on the norm.", show_default="squared"
    ),
]


def warmup_option(default: str) -> Any:
    """Option for the warm-up of the radius."""
    return quantity(
        "--warmup-epochs", "Warm-up: epochs over which epsilon increases from 0.", default
    )


def step_length(default: str) -> Any:
    """Option for the length of a step of the ascent."""
    return quantity("--step-size", "Step size of the ascent, pixel units of [0, 1].", default)


def step_count(default: str) -> Any:
    """Option for the number of steps of the ascent."""
    return typer.Option("--steps", help="Number of steps of the ascent.", show_default=default)


def penalty_weight(default: str) -> Any:
    """Option for the weight of a penalty."""
    return quantity("--weight", "Weight of the penalty (lambda).", default)


def difference_step(default: str) -> Any:
    """Option for the step of a finite difference."""
    return quantity(
        "--step", "Step h of the difference, an l2 length in pixel units of [0, 1].", default
    )
