"""Training methods that perturb the images, by an ascent or by noise."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..shell.options import TrainOptions, train_options
from .train_options import Epsilon, Norm, Sigma, quantity, step_count, step_length, warmup_option
from .train_run import run_training


@train_options
def standard(options: TrainOptions) -> None:
    """Plain training on cross-entropy.

    Prints measured accuracies, after each epoch. Presets: igr-standard, soar-standard.

    Example: robcert train standard --epochs 15 --out runs/standard
    """
    run_training(options, "standard")


@train_options
def adversarial(
    options: TrainOptions,
    *,
    epsilon: Epsilon = None,
    norm: Norm = None,
    steps: Annotated[int | None, step_count("7")] = None,
    step_size: Annotated[float | None, step_length("2/255")] = None,
    rule: Annotated[
        Literal["steepest", "adam"] | None,
        typer.Option(
            "--rule", help="Steepest steps (signs, in linf) or Adam's.", show_default="steepest"
        ),
    ] = None,
    loss: Annotated[
        Literal["ce", "margin"] | None,
        typer.Option("--loss", help="What the ascent climbs.", show_default="ce"),
    ] = None,
    random_start: Annotated[
        bool | None,
        typer.Option(
            "--random-start/--no-random-start",
            help="Begin at a random point, else at the image.",
            show_default="random-start",
        ),
    ] = None,
    warmup_epochs: Annotated[float | None, warmup_option("0.0")] = None,
) -> None:
    """Adversarial training: cross-entropy at the end of an ascent (Madry et al. 2018).

    Prints measured accuracies, after each epoch, and accuracy under a short attack now and then.
    Presets: llr-adv, igr-at-2, igr-at-8, soar-adv7, soar-adv1-scratch, soar-adv1-pretrain.

    Example: robcert train adversarial --epsilon 8/255 --steps 7 --out runs/adversarial
    """
    run_training(
        options,
        "adversarial",
        epsilon=epsilon,
        norm=norm,
        steps=steps,
        step_size=step_size,
        rule=rule,
        loss=loss,
        random_start=random_start,
        warmup_epochs=warmup_epochs,
    )


@train_options
def free(
    options: TrainOptions,
    *,
    epsilon: Epsilon = None,
    step_size: Annotated[float | None, step_length("epsilon")] = None,
    replays: Annotated[
        int | None, typer.Option("--replays", help="Steps on each batch.", show_default="4")
    ] = None,
) -> None:
    """Adversarial training "for free": the parameters' gradient moves the images too (linf).

    Shafahi et al. 2019. --epochs counts the replays: there are that many fewer passes over the
    data. Prints measured accuracies, after each epoch. Presets: free-2, free-8.

    Example: robcert train free --epsilon 8/255 --replays 4 --out runs/free
    """
    run_training(options, "free", epsilon=epsilon, step_size=step_size, replays=replays)


@train_options
def trades(
    options: TrainOptions,
    *,
    weight: Annotated[
        float | None, quantity("--weight", "Weight of the divergence (beta).", "6.0")
    ] = None,
    epsilon: Epsilon = None,
    norm: Norm = None,
    steps: Annotated[int | None, step_count("10")] = None,
    step_size: Annotated[float | None, step_length("0.007")] = None,
) -> None:
    """TRADES: cross-entropy plus the divergence of clean and perturbed predictions.

    Zhang et al. 2019. Prints measured accuracies, after each epoch.
    Presets: trades-2, trades-4, trades-6, trades-8.

    Example: robcert train trades --weight 6 --out runs/trades
    """
    run_training(
        options, "trades", weight=weight, epsilon=epsilon, norm=norm, steps=steps,
        step_size=step_size,
    )  # fmt: skip


@train_options
def gaussian(options: TrainOptions, *, sigma: Sigma = None) -> None:
    """Training on Gaussian noise, so that randomized smoothing certifies something.

    Cohen et al. 2019. Prints measured accuracies, after each epoch.
    Presets: cohen-0.12, cohen-0.25, cohen-0.5, cohen-1.

    Example: robcert train gaussian --sigma 0.25 --out runs/gaussian
    """
    run_training(options, "gaussian", sigma=sigma)


@train_options
def smoothadv(
    options: TrainOptions,
    *,
    sigma: Sigma = None,
    epsilon: Annotated[
        float | None,
        quantity("--epsilon", "Radius of the l2 ball, pixel units of [0, 1].", "64/255"),
    ] = None,
    steps: Annotated[int | None, step_count("2")] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Noisy copies of an image.", show_default="2")
    ] = None,
    warmup_epochs: Annotated[float | None, warmup_option("1.0")] = None,
) -> None:
    """SmoothAdv: adversarial training of the smoothed classifier (l2), for larger certificates.

    Salman et al. 2019. Prints measured accuracies, after each epoch.

    Example: robcert train smoothadv --sigma 0.25 --epsilon 64/255 --out runs/smoothadv
    """
    run_training(
        options, "smoothadv", sigma=sigma, epsilon=epsilon, steps=steps, samples=samples,
        warmup_epochs=warmup_epochs,
    )  # fmt: skip
