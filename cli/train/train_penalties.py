"""Training methods that add a penalty to the cross-entropy."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from robcert.certify import core

from ..shell.options import TrainOptions, norm_option, train_options
from .train_options import Epsilon, Power, quantity, step_count, step_length, warmup_option
from .train_run import run_training


@train_options
def cure(
    options: TrainOptions,
    *,
    weight: Annotated[
        float | None, quantity("--weight", "Weight of the penalty (lambda).", "4.0")
    ] = None,
    step: Annotated[
        float | None,
        quantity("--step", "h of the difference, an l2 length in pixel units of [0, 1].", "3.0"),
    ] = None,
    step_epochs: Annotated[
        float | None, quantity("--step-epochs", "Epochs over which h grows from 0.", "5.0")
    ] = None,
    power: Power = None,
) -> None:
    """CURE: a penalty on how much the loss gradient changes along its sign.

    Moosavi-Dezfooli et al. 2019. Prints measured accuracies, after each epoch. Preset: llr-cure.

    Example: robcert train cure --weight 4 --step 3 --out runs/cure
    """
    run_training(options, "cure", weight=weight, step=step, step_epochs=step_epochs, power=power)


@train_options
def llr(
    options: TrainOptions,
    *,
    epsilon: Epsilon = None,
    gamma_weight: Annotated[
        float | None,
        quantity("--gamma-weight", "Weight of the local linearity error.", "4.0", "--lambda"),
    ] = None,
    linear_weight: Annotated[
        float | None,
        quantity("--linear-weight", "Weight of the linear term; 0 leaves it out.", "3.0", "--mu"),
    ] = None,
    ratio: Annotated[
        float | None, quantity("--ratio", "mu / lambda, in the place of mu.", default=False)
    ] = None,
    nominal_weight: Annotated[
        float | None, quantity("--nominal-weight", "Weight of the cross-entropy.", "2.0")
    ] = None,
    steps: Annotated[int | None, step_count("2")] = None,
    step_size: Annotated[float | None, step_length("0.1")] = None,
    warmup_epochs: Annotated[float | None, warmup_option("2.0")] = None,
) -> None:
    """Local linearity regularisation: the loss near an image should be its tangent (linf).

    Qin et al. 2019. Prints measured accuracies, after each epoch.
    Presets: llr-wrn28, llr-wrn40, llr-code, llr-in4, llr-in16.

    Example: robcert train llr --epsilon 8/255 --out runs/llr
    """
    run_training(
        options,
        "llr",
        epsilon=epsilon,
        gamma_weight=gamma_weight,
        linear_weight=linear_weight,
        ratio=ratio,
        nominal_weight=nominal_weight,
        steps=steps,
        step_size=step_size,
        warmup_epochs=warmup_epochs,
    )


@train_options
def gradient(
    options: TrainOptions,
    *,
    norm: Annotated[
        core.Norm | None,
        norm_option("Norm of the attacks; the penalty is in its dual.", show_default="linf"),
    ] = None,
    weight: Annotated[
        float | None, quantity("--weight", "Weight of the penalty (lambda).", "1.0")
    ] = None,
    step: Annotated[
        float | None,
        quantity("--step", "h of the difference, an l2 length in pixel units of [0, 1].", "0.01"),
    ] = None,
    scheme: Annotated[
        Literal["forward", "central", "exact"] | None,
        typer.Option(
            "--scheme",
            help="Forward or central differences, or double backpropagation.",
            show_default="forward",
        ),
    ] = None,
    power: Power = None,
    scale: Annotated[
        Literal["mean", "full"] | None,
        typer.Option(
            "--scale",
            help="mean: the l1 norm over the root of the number of pixels, as published.",
            show_default="mean",
        ),
    ] = None,
) -> None:
    """Input gradient regularisation, by finite differences of the loss.

    Finlay & Oberman 2019. Prints measured accuracies, after each epoch.
    Presets: igr-l1-0.1, igr-l1-1, igr-l2-0.1, igr-l2-1.

    Example: robcert train gradient --norm linf --weight 1 --step 0.01 --out runs/gradient
    """
    run_training(
        options, "gradient", norm=norm, weight=weight, step=step, scheme=scheme, power=power,
        scale=scale,
    )  # fmt: skip


@train_options
def jacobian(
    options: TrainOptions,
    *,
    weight: Annotated[
        float | None, quantity("--weight", "Weight of the penalty (lambda).", "0.01")
    ] = None,
    projections: Annotated[
        int | None,
        typer.Option("--projections", help="Random directions of the logits.", show_default="1"),
    ] = None,
) -> None:
    """Jacobian regularisation: the Frobenius norm of the logits' Jacobian (Hoffman et al. 2019).

    Prints measured accuracies, after each epoch.

    Example: robcert train jacobian --weight 0.01 --out runs/jacobian
    """
    run_training(options, "jacobian", weight=weight, projections=projections)


@train_options
def soar(
    options: TrainOptions,
    *,
    epsilon: Epsilon = None,
    weight: Annotated[
        float | None, quantity("--weight", "Weight of the penalty (lambda).", "0.5")
    ] = None,
    start: Annotated[
        Literal["zero", "random", "pgd1"] | None,
        typer.Option(
            "--start",
            help="Penalise at the image, at a random point, or one sign step from there.",
            show_default="pgd1",
        ),
    ] = None,
    step_size: Annotated[float | None, step_length("2/255")] = None,
    step_least: Annotated[
        float | None, quantity("--step-least", "Least h of the difference, pixel units.", "0.001")
    ] = None,
    step_most: Annotated[
        float | None, quantity("--step-most", "Largest h of the difference, pixel units.", "8/255")
    ] = None,
    value_clip: Annotated[
        float | None,
        quantity("--value-clip", "Norm beyond which the penalty has no gradient.", "10.0"),
    ] = None,
    gradient_clip: Annotated[
        float | None,
        quantity("--gradient-clip", "Largest l2 norm of the penalty's own gradient.", "30.0"),
    ] = None,
    directions: Annotated[
        int | None,
        typer.Option("--directions", help="Random directions averaged.", show_default="1"),
    ] = None,
    estimator: Annotated[
        Literal["mean_norm", "rms"] | None,
        typer.Option(
            "--estimator",
            help="Mean of the norms, as in the paper, or root of their mean square.",
            show_default="mean_norm",
        ),
    ] = None,
    last: Annotated[
        bool | None,
        typer.Option(
            "--last/--no-last", help="Keep the matrix's last row.", show_default="no-last"
        ),
    ] = None,
) -> None:
    """SOAR: a penalty on the second-order model of the loss (linf), from a trained network.

    Ma, Faghri, Farahmand 2020. A plain network is trained first, unless --init-from names one.
    Prints measured accuracies, after each epoch. Preset: soar-v1.

    Example: robcert train soar --epsilon 8/255 --weight 0.5 --out runs/soar
    """
    run_training(
        options,
        "soar",
        epsilon=epsilon,
        weight=weight,
        start=start,
        step_size=step_size,
        step_least=step_least,
        step_most=step_most,
        value_clip=value_clip,
        gradient_clip=gradient_clip,
        directions=directions,
        estimator=estimator,
        last=last,
    )
