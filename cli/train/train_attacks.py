"""Training methods that perturb the images, by gradient ascent or by noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..shell.values import either
from .train_options import (
    Epsilon,
    Norm,
    Sigma,
    TrainOptions,
    quantity,
    step_count,
    step_length,
    train_command,
    warmup_option,
)
from .train_run import run_training

if TYPE_CHECKING:
    from robcert.trainers.methods import Adversarial, Free, Gaussian, SmoothAdv, Standard, Trades


@dataclass(frozen=True, slots=True)
class StandardOptions:
    """Plain training has no option of its own."""

    def over(self, base: Standard) -> Standard:
        """``base``, which has nothing to set."""
        return base


@train_command(StandardOptions)
def standard(options: TrainOptions, own: StandardOptions) -> None:
    """Plain training on cross-entropy.

    Prints the measured accuracy after each epoch.

    Example: robcert train standard --epochs 15 --out runs/standard
    """
    from robcert.trainers.methods import Standard

    run_training(options, Standard, own)


@dataclass(frozen=True, slots=True)
class AdversarialOptions:
    """Options of adversarial training; None if not given."""

    epsilon: Epsilon = None
    norm: Norm = None
    steps: Annotated[int | None, step_count("7")] = None
    step_size: Annotated[float | None, step_length("2/255")] = None
    rule: Annotated[
        Literal["steepest", "adam"] | None,
        typer.Option(
            "--rule",
            help="Step rule of the ascent: steepest (sign steps in linf) or Adam.",
            show_default="steepest",
        ),
    ] = None
    loss: Annotated[
        Literal["ce", "margin"] | None,
        typer.Option("--loss", help="Loss that the ascent maximises.", show_default="ce"),
    ] = None
    random_start: Annotated[
        bool | None,
        typer.Option(
            "--random-start/--no-random-start",
            help="Start of the ascent: a random point, or the image.",
            show_default="random-start",
        ),
    ] = None
    warmup_epochs: Annotated[float | None, warmup_option("0.0")] = None

    def over(self, base: Adversarial) -> Adversarial:
        """``base`` with the options that were given."""
        from robcert.certify.numerics import Loss

        return replace(
            base,
            epsilon=either(self.epsilon, base.epsilon),
            norm=either(self.norm, base.norm),
            steps=either(self.steps, base.steps),
            step_size=either(self.step_size, base.step_size),
            rule=either(self.rule, base.rule),
            loss=base.loss if self.loss is None else Loss(self.loss),
            random_start=either(self.random_start, base.random_start),
            warmup_epochs=either(self.warmup_epochs, base.warmup_epochs),
        )


@train_command(AdversarialOptions)
def adversarial(options: TrainOptions, own: AdversarialOptions) -> None:
    """Adversarial training: cross-entropy at the end of a gradient ascent.

    Madry et al. 2018. Prints the measured accuracy after each epoch, and every few epochs that
    under a short attack.

    Example: robcert train adversarial --epsilon 8/255 --steps 7 --out runs/adversarial
    """
    from robcert.trainers.methods import Adversarial

    run_training(options, Adversarial, own)


@dataclass(frozen=True, slots=True)
class FreeOptions:
    """Options of "free" adversarial training; None if not given."""

    epsilon: Epsilon = None
    step_size: Annotated[
        float | None,
        quantity("--step-size", "Step size of the perturbation, pixel units.", "epsilon"),
    ] = None
    replays: Annotated[
        int | None,
        typer.Option("--replays", help="Number of steps on each batch.", show_default="4"),
    ] = None

    def over(self, base: Free) -> Free:
        """``base`` with the options that were given."""
        return replace(
            base,
            epsilon=either(self.epsilon, base.epsilon),
            step_size=either(self.step_size, base.step_size),
            replays=either(self.replays, base.replays),
        )


@train_command(FreeOptions)
def free(options: TrainOptions, own: FreeOptions) -> None:
    """Adversarial training "for free": one backward pass updates parameters and images (linf).

    Shafahi et al. 2019. --epochs counts the replays: with m replays there are m times fewer passes
    over the data. Prints the measured accuracy after each epoch.

    Example: robcert train free --epsilon 8/255 --replays 4 --out runs/free
    """
    from robcert.trainers.methods import Free

    run_training(options, Free, own)


@dataclass(frozen=True, slots=True)
class TradesOptions:
    """Options of TRADES; None if not given."""

    weight: Annotated[
        float | None, quantity("--weight", "Weight of the divergence (beta).", "6.0")
    ] = None
    epsilon: Epsilon = None
    norm: Norm = None
    steps: Annotated[int | None, step_count("10")] = None
    step_size: Annotated[float | None, step_length("0.007")] = None

    def over(self, base: Trades) -> Trades:
        """``base`` with the options that were given."""
        return replace(
            base,
            weight=either(self.weight, base.weight),
            epsilon=either(self.epsilon, base.epsilon),
            norm=either(self.norm, base.norm),
            steps=either(self.steps, base.steps),
            step_size=either(self.step_size, base.step_size),
        )


@train_command(TradesOptions)
def trades(options: TrainOptions, own: TradesOptions) -> None:
    """TRADES: cross-entropy plus the divergence between clean and perturbed predictions.

    Zhang et al. 2019. Prints the measured accuracy after each epoch.

    Example: robcert train trades --weight 6 --out runs/trades
    """
    from robcert.trainers.methods import Trades

    run_training(options, Trades, own)


@dataclass(frozen=True, slots=True)
class GaussianOptions:
    """Option of training on Gaussian noise; None if not given."""

    sigma: Sigma = None

    def over(self, base: Gaussian) -> Gaussian:
        """``base`` with the option, if it was given."""
        return replace(base, sigma=either(self.sigma, base.sigma))


@train_command(GaussianOptions)
def gaussian(options: TrainOptions, own: GaussianOptions) -> None:
    """Training on Gaussian noise, for certification by randomized smoothing.

    Cohen et al. 2019. Prints the measured accuracy after each epoch.

    Example: robcert train gaussian --sigma 0.25 --out runs/gaussian
    """
    from robcert.trainers.methods import Gaussian

    run_training(options, Gaussian, own)


@dataclass(frozen=True, slots=True)
class SmoothAdvOptions:
    """Options of SmoothAdv; None if not given."""

    sigma: Sigma = None
    epsilon: Annotated[
        float | None,
        quantity("--epsilon", "Radius of the l2 ball, pixel units of [0, 1].", "64/255"),
    ] = None
    steps: Annotated[int | None, step_count("2")] = None
    samples: Annotated[
        int | None,
        typer.Option("--samples", help="Number of noise draws per image.", show_default="2"),
    ] = None
    warmup_epochs: Annotated[float | None, warmup_option("1.0")] = None

    def over(self, base: SmoothAdv) -> SmoothAdv:
        """``base`` with the options that were given."""
        return replace(
            base,
            sigma=either(self.sigma, base.sigma),
            epsilon=either(self.epsilon, base.epsilon),
            steps=either(self.steps, base.steps),
            samples=either(self.samples, base.samples),
            warmup_epochs=either(self.warmup_epochs, base.warmup_epochs),
        )


@train_command(SmoothAdvOptions)
def smoothadv(options: TrainOptions, own: SmoothAdvOptions) -> None:
    """SmoothAdv: adversarial training of the smoothed classifier (l2), for larger certified radii.

    Salman et al. 2019. Prints the measured accuracy after each epoch.

    Example: robcert train smoothadv --sigma 0.25 --epsilon 64/255 --out runs/smoothadv
    """
    from robcert.trainers.methods import SmoothAdv

    run_training(options, SmoothAdv, own)
