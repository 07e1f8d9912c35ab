"""`robcert linearity`: the local linearity error of the loss."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .options import AnalysisOptions, analysis_options
from .run import given, run_analysis
from .session import epsilons


@analysis_options
def linearity(
    options: AnalysisOptions,
    *,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of the search.", show_default="50")
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option("--step-size", help="Adam's step in linf, pixel units.", show_default="0.1"),
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
) -> None:
    """Local linearity: how far the loss leaves its tangent within ε of an image (γ).

    Prints estimated numbers: γ is found by search, so the true value can only be larger.

    Example: robcert linearity --model model.onnx --data images.npz --eps 4/255 --eps 8/255
    """
    from robcert.certify.analyses import linearity as analysis
    from robcert.certify.core import Norm
    from robcert.certify.profiles import settings_of

    chosen = given(steps=steps, step_size=step_size, restarts=restarts, loss=loss, sided=sided)
    runs = [
        settings_of(
            "linearity", options.profile, norm=Norm(options.norm), epsilon=epsilon, **chosen
        )
        for epsilon in epsilons(options)
    ]
    run_analysis(
        options,
        "linearity",
        "linearity",
        lambda context: [analysis.analyse(context.session, settings) for settings in runs],
    )
