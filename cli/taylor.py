"""`robcert taylor`: errors of second-order approximations of the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from .shell.options import (
    AnalysisOptions,
    BallOptions,
    ModelAndData,
    Run,
    SelectionOptions,
    analysis_options,
)
from .shell.run import report_groups
from .shell.session import command_context, note, one_epsilon
from .shell.values import either


@analysis_options(*ModelAndData, SelectionOptions, BallOptions, *Run)
def taylor(
    options: AnalysisOptions,
    *,
    step: Annotated[
        list[float] | None,
        typer.Option(
            "--step",
            help="Step h of a finite difference, l2 length in pixel units; may be repeated.",
            show_default="1e-4 to 1",
        ),
    ] = None,
    line: Annotated[
        Literal["gradient", "random"] | None,
        typer.Option(
            "--line", help="Direction of the line through each image.", show_default="gradient"
        ),
    ] = None,
    loss: Annotated[
        Literal["ce", "margin"] | None,
        typer.Option("--loss", help="Loss that is approximated.", show_default="ce"),
    ] = None,
    directions: Annotated[
        int | None,
        typer.Option(
            "--directions", help="Random directions for the regulariser of SOAR.", show_default="10"
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", help="Figure: PNG, PDF or SVG [default: beside the results file]."
        ),
    ] = None,
) -> None:
    """Taylor curves: the loss along a line and its second-order approximations.

    Prints estimated errors of the exact Hessian-vector product, of finite differences with several
    steps, and of the gradient norm by one difference; also the regulariser of SOAR in many
    directions.

    Example: robcert taylor --model model.onnx --data images.npz --limit 100 --directions 100
    """
    from robcert.certify import landscape
    from robcert.certify.landscape import save_taylor
    from robcert.certify.numerics import Loss
    from robcert.certify.tables import require_picture

    if picture is not None:
        require_picture(picture)
    base = landscape.TaylorSettings()
    settings = replace(
        base,
        norm=options.norm,
        epsilon=one_epsilon(options),
        steps=tuple(step or base.steps),
        line=landscape.Line(either(line, base.line)),
        loss=Loss(either(loss, base.loss)),
        directions=either(directions, base.directions),
    )
    with command_context(options) as context:
        store = context.session.store
        path = landscape.analyse_taylor(context.session, settings)
        report_groups(context, "taylor", "taylor", (path,))
        if not len(store.at(path).indices):
            return  # the time budget ended before there was anything to draw
        target = picture or store.path.with_name(f"{store.path.stem}-taylor.png")
        curves = landscape.mean_curves(store.at(path))
        save_taylor(target, *curves, title=f"{store.model['file']} on {store.data['name']}")
        note(options, f"picture: {target}")
