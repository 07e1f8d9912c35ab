"""Training methods that add a penalty to the cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robcert.certify import core
from robcert.certify.errors import InvalidParameterError

from ..shell.options import norm_option
from ..shell.values import either
from .train_options import (
    Epsilon,
    Power,
    TrainOptions,
    difference_step,
    penalty_weight,
    quantity,
    step_count,
    step_length,
    train_command,
    warmup_option,
)
from .train_run import run_training

if TYPE_CHECKING:
    from robcert.trainers.methods import Cure, Gradient, Jacobian, Llr, Soar


@dataclass(frozen=True, slots=True)
class CureOptions:
    """Options of CURE; None if not given."""

    weight: Annotated[float | None, penalty_weight("4.0")] = None
    step: Annotated[float | None, difference_step("3.0")] = None
    step_epochs: Annotated[
        float | None,
        quantity("--step-epochs", "Warm-up: epochs over which h increases from 0.", "5.0"),
    ] = None
    power: Power = None

    def over(self, base: Cure) -> Cure:
        """``base`` with the options that were given."""
        return replace(
            base,
            weight=either(self.weight, base.weight),
            step=either(self.step, base.step),
            step_epochs=either(self.step_epochs, base.step_epochs),
            power=either(self.power, base.power),
        )


@train_command(CureOptions)
def cure(options: TrainOptions, own: CureOptions) -> None:
    """CURE: a penalty on the change of the loss gradient along its sign.

    Moosavi-Dezfooli et al. 2019. Prints the measured accuracy after each epoch.

    Example: robcert train cure --weight 4 --step 3 --out runs/cure
    """
    from robcert.trainers.methods import Cure

    run_training(options, Cure, own)


@dataclass(frozen=True, slots=True)
class LlrOptions:
    """Options of local linearity regularisation; None if not given."""

    epsilon: Epsilon = None
    gamma_weight: Annotated[
        float | None,
        quantity("--gamma-weight", "Weight of the local linearity error.", "4.0", "--lambda"),
    ] = None
    linear_weight: Annotated[
        float | None,
        quantity("--linear-weight", "Weight of the linear term; 0 for none.", "3.0", "--mu"),
    ] = None
    ratio: Annotated[
        float | None, quantity("--ratio", "Ratio mu / lambda, instead of mu.", default=False)
    ] = None
    nominal_weight: Annotated[
        float | None, quantity("--nominal-weight", "Weight of the cross-entropy.", "2.0")
    ] = None
    steps: Annotated[int | None, step_count("2")] = None
    step_size: Annotated[float | None, step_length("0.1")] = None
    warmup_epochs: Annotated[float | None, warmup_option("2.0")] = None
    bn: Annotated[
        Literal["nominal", "nominal-fixed", "eval"] | None,
        typer.Option(
            "--bn",
            help="Batch norm in the penalty. nominal: statistics of the clean batch, through which "
            "the gradient goes too, as in the released code, so that the local linearity error has "
            "a part of first order; nominal-fixed: the gradient at fixed statistics; eval: the "
            "moving averages.",
            show_default="nominal",
        ),
    ] = None

    def over(self, base: Llr) -> Llr:
        """``base`` with the options that were given.

        Raises:
            InvalidParameterError: mu is given twice, as itself and as a ratio.
        """
        if self.linear_weight is not None and self.ratio is not None:
            message = "--linear-weight (--mu) and --ratio both set mu: give one of them"
            raise InvalidParameterError(message)
        return replace(
            base,
            epsilon=either(self.epsilon, base.epsilon),
            gamma_weight=either(self.gamma_weight, base.gamma_weight),
            linear_weight=either(self.linear_weight, base.linear_weight),
            ratio=either(self.ratio, base.ratio if self.linear_weight is None else None),
            nominal_weight=either(self.nominal_weight, base.nominal_weight),
            steps=either(self.steps, base.steps),
            step_size=either(self.step_size, base.step_size),
            warmup_epochs=either(self.warmup_epochs, base.warmup_epochs),
            bn=either(self.bn, base.bn),
        )


@train_command(LlrOptions)
def llr(options: TrainOptions, own: LlrOptions) -> None:
    """Local linearity regularisation: a penalty on the loss's deviation from its tangent (linf).

    Qin et al. 2019. Prints the measured accuracy after each epoch. The column gamma_BN of
    metrics.csv is the local linearity error that was penalised, with --bn in its name.

    Example: robcert train llr --epsilon 8/255 --out runs/llr
    """
    from robcert.trainers.methods import Llr

    run_training(options, Llr, own)


@dataclass(frozen=True, slots=True)
class GradientOptions:
    """Options of input gradient regularisation; None if not given."""

    norm: Annotated[
        core.Norm | None,
        norm_option(
            "Norm of the attacks; the penalty is on the dual norm of the gradient.",
            show_default="linf",
        ),
    ] = None
    weight: Annotated[float | None, penalty_weight("1.0")] = None
    step: Annotated[float | None, difference_step("0.01")] = None
    scheme: Annotated[
        Literal["forward", "central", "exact"] | None,
        typer.Option(
            "--scheme",
            help="Scheme: forward or central differences, or exact double backpropagation.",
            show_default="forward",
        ),
    ] = None
    power: Power = None
    scale: Annotated[
        Literal["mean", "full"] | None,
        typer.Option(
            "--scale",
            help="Scale of the l1 norm: mean divides it by the root of the number of pixels, as "
            "published.",
            show_default="mean",
        ),
    ] = None

    def over(self, base: Gradient) -> Gradient:
        """``base`` with the options that were given."""
        return replace(
            base,
            norm=either(self.norm, base.norm),
            weight=either(self.weight, base.weight),
            step=either(self.step, base.step),
            scheme=either(self.scheme, base.scheme),
            power=either(self.power, base.power),
            scale=either(self.scale, base.scale),
        )


@train_command(GradientOptions)
def gradient(options: TrainOptions, own: GradientOptions) -> None:
    """Input gradient regularisation, by finite differences of the loss.

    Finlay & Oberman 2019. Prints the measured accuracy after each epoch.

    Example: robcert train gradient --norm linf --weight 1 --step 0.01 --out runs/gradient
    """
    from robcert.trainers.methods import Gradient

    run_training(options, Gradient, own)


@dataclass(frozen=True, slots=True)
class JacobianOptions:
    """Options of Jacobian regularisation; None if not given."""

    weight: Annotated[float | None, penalty_weight("0.01")] = None
    projections: Annotated[
        int | None,
        typer.Option(
            "--projections", help="Number of random directions of the logits.", show_default="1"
        ),
    ] = None

    def over(self, base: Jacobian) -> Jacobian:
        """``base`` with the options that were given."""
        return replace(
            base,
            weight=either(self.weight, base.weight),
            projections=either(self.projections, base.projections),
        )


@train_command(JacobianOptions)
def jacobian(options: TrainOptions, own: JacobianOptions) -> None:
    """Jacobian regularisation: a penalty on the Frobenius norm of the logits' Jacobian.

    Hoffman et al. 2019. Prints the measured accuracy after each epoch.

    Example: robcert train jacobian --weight 0.01 --out runs/jacobian
    """
    from robcert.trainers.methods import Jacobian

    run_training(options, Jacobian, own)


@dataclass(frozen=True, slots=True)
class SoarOptions:
    """Options of SOAR; None if not given."""

    epsilon: Epsilon = None
    weight: Annotated[float | None, penalty_weight("0.5")] = None
    start: Annotated[
        Literal["zero", "random", "pgd1"] | None,
        typer.Option(
            "--start",
            help="Point of the penalty: the image, a random point, or one sign step from there.",
            show_default="pgd1",
        ),
    ] = None
    step_size: Annotated[
        float | None,
        quantity("--step-size", "Size of that sign step, pixel units of [0, 1].", "2/255"),
    ] = None
    step_least: Annotated[
        float | None,
        quantity("--step-least", "Smallest step h of the difference, pixel units.", "0.001"),
    ] = None
    step_most: Annotated[
        float | None,
        quantity("--step-most", "Largest step h of the difference, pixel units.", "8/255"),
    ] = None
    value_clip: Annotated[
        float | None,
        quantity("--value-clip", "Largest norm; above it the penalty has no gradient.", "10.0"),
    ] = None
    gradient_clip: Annotated[
        float | None,
        quantity("--gradient-clip", "Largest l2 norm of the penalty's own gradient.", "30.0"),
    ] = None
    directions: Annotated[
        int | None,
        typer.Option(
            "--directions", help="Number of random directions to average over.", show_default="1"
        ),
    ] = None
    estimator: Annotated[
        Literal["mean_norm", "rms"] | None,
        typer.Option(
            "--estimator",
            help="Estimator: mean of the norms, as in the paper, or root of their mean square.",
            show_default="mean_norm",
        ),
    ] = None
    last: Annotated[
        bool | None,
        typer.Option(
            "--last/--no-last", help="Last row of the matrix included.", show_default="no-last"
        ),
    ] = None

    def over(self, base: Soar) -> Soar:
        """``base`` with the options that were given."""
        return replace(
            base,
            epsilon=either(self.epsilon, base.epsilon),
            weight=either(self.weight, base.weight),
            start=either(self.start, base.start),
            step_size=either(self.step_size, base.step_size),
            step_least=either(self.step_least, base.step_least),
            step_most=either(self.step_most, base.step_most),
            value_clip=either(self.value_clip, base.value_clip),
            gradient_clip=either(self.gradient_clip, base.gradient_clip),
            directions=either(self.directions, base.directions),
            estimator=either(self.estimator, base.estimator),
            last=either(self.last, base.last),
        )


@train_command(SoarOptions)
def soar(options: TrainOptions, own: SoarOptions) -> None:
    """SOAR: a penalty on the second-order model of the loss (linf), from a trained network.

    Ma, Faghri, Farahmand 2020. Unless --init-from names a network, one is trained first on
    cross-entropy. Prints the measured accuracy after each epoch.

    Example: robcert train soar --epsilon 8/255 --weight 0.5 --out runs/soar
    """
    from robcert.trainers.methods import Soar

    run_training(options, Soar, own)
