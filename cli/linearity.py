"""`robcert linearity`: the local linearity error of the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from .linearity_series import places, require_series, run_one, run_series
from .shell.options import AnalysisOptions, EveryGroup, analysis_options
from .shell.planning import refuse_in_plan
from .shell.session import command_context, epsilons
from .shell.values import either


@analysis_options(*EveryGroup)
def linearity(
    options: AnalysisOptions,
    *,
    schedule: Annotated[
        Literal["multistart", "paper"],
        typer.Option(
            "--schedule",
            help="multistart: many starts, of which the best continue; paper: the published "
            "search, 50 steps of Adam in linf from one random start, often far from the maximum.",
        ),
    ] = "multistart",
    steps: Annotated[
        int | None,
        typer.Option("--steps", help="Gradient steps of each ascent.", show_default="50"),
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(
            "--step-size",
            help="Step size of Adam in pixel units of [0, 1], for --schedule paper; without this "
            "option l2 and l1 use shrinking steps.",
            show_default="0.1",
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            "--restarts",
            help="Random starts; 1 by default with --schedule paper.",
            show_default="10",
        ),
    ] = None,
    loss: Annotated[
        Literal["ce", "margin"] | None,
        typer.Option("--loss", help="Loss whose linearity is measured.", show_default="ce"),
    ] = None,
    sided: Annotated[
        Literal["two", "upper", "lower"] | None,
        typer.Option(
            "--sided", help="Side of the tangent on which deviations count.", show_default="two"
        ),
    ] = None,
    box: Annotated[
        bool,
        typer.Option(
            "--box/--no-box",
            help="Keep perturbed images in [0, 1], or search the whole ball as in the definition.",
        ),
    ] = True,
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", help="Also measure this model on the same images; may be repeated."),
    ] = None,
    along: Annotated[
        bool,
        typer.Option(
            "--along",
            help="Measure every kept checkpoint of the run folder --model, and of those in --also.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Histogram of √γ, or γ by epoch: PNG, PDF or SVG."),
    ] = None,
) -> None:
    """Local linearity: how far the loss deviates from its tangent within ε (γ).

    Prints estimated numbers: γ is found by a search, so the true value can only be larger. --also
    measures several models, --along the checkpoints of training runs; each gets its own results
    file.

    Example: robcert linearity --model model.onnx --data images.npz --eps 4/255 --eps 8/255
    """
    from robcert.certify.local_linearity import LinearitySettings, Sided, Steps
    from robcert.certify.numerics import Loss
    from robcert.certify.tables import require_picture

    require_series(options, also or (), along=along)
    of_schedule = {
        "multistart": LinearitySettings.of_profile,
        "paper": LinearitySettings.paper,
    }
    base = of_schedule[schedule](options.profile)
    settings = replace(
        base,
        norm=options.norm,
        steps=either(steps, base.steps),
        step_size=either(step_size, base.step_size),
        restarts=either(restarts, base.restarts),
        loss=Loss(either(loss, base.loss)),
        sided=Sided(either(sided, base.sided)),
        box=box,
        rule=base.rule if step_size is None else Steps.ADAM,  # only Adam has a step size
    )
    runs = [replace(settings, epsilon=epsilon) for epsilon in epsilons(options)]
    if plot is not None:
        require_picture(plot)
    if also or along:
        refuse_in_plan("--also and --along")
        run_series(options, runs, places(options, also or (), along=along), plot)
        return
    with command_context(options) as context:
        run_one(context, runs, plot)
