"""`robcert linearity`: the local linearity error of the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .linearity_series import places, require_series, run_one, run_series
from .shell.options import AnalysisOptions, analysis_options
from .shell.run import given
from .shell.session import epsilons, opened


@analysis_options
def linearity(
    options: AnalysisOptions,
    *,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of the search.", show_default="50")
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(
            "--step-size",
            help="Adam's step, pixel units; l2 and l1 have steps of their own if it is left out.",
            show_default="0.1",
        ),
    ] = None,
    restarts: Annotated[
        int | None, typer.Option("--restarts", help="Random starts.", show_default="1")
    ] = None,
    loss: Annotated[
        Literal["ce", "margin"] | None,
        typer.Option("--loss", help="Loss that is linearised.", show_default="ce"),
    ] = None,
    sided: Annotated[
        Literal["two", "upper", "lower"] | None,
        typer.Option("--sided", help="Side of the tangent.", show_default="two"),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", help="A further model on the same images; may be given again."),
    ] = None,
    along: Annotated[
        bool, typer.Option("--along", help="Every kept checkpoint of the run folder --model.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Histogram of √γ, or γ by epoch: PNG, PDF or SVG."),
    ] = None,
) -> None:
    """Local linearity: how far the loss leaves its tangent within ε of an image (γ).

    Prints estimated numbers: γ is found by search, so the true value can only be larger. Several
    models are measured with --also, checkpoints along a training with --along; each gets a results
    file of its own.

    Example: robcert linearity --model model.onnx --data images.npz --eps 4/255 --eps 8/255
    """
    from robcert.certify.auditing import settings_of
    from robcert.certify.core import Norm
    from robcert.certify.local_linearity import Steps
    from robcert.certify.tables import require_picture

    require_series(options, also or (), along=along)
    chosen = given(steps=steps, step_size=step_size, restarts=restarts, loss=loss, sided=sided)
    if step_size is not None:
        chosen["rule"] = Steps.ADAM  # its steps alone have a size
    runs = [
        settings_of(
            "linearity", options.profile, norm=Norm(options.norm), epsilon=epsilon, **chosen
        )
        for epsilon in epsilons(options)
    ]
    if plot is not None:
        require_picture(plot)
    if also or along:
        run_series(options, runs, places(options, also or (), along=along), plot)
        return
    with opened(options) as context:
        run_one(context, runs, plot)
