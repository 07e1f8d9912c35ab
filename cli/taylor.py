"""`robcert taylor`: how well second-order approximations of the loss hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .shell.options import AnalysisOptions, analysis_options
from .shell.run import given, report_groups
from .shell.session import note, one_epsilon, opened


@analysis_options
def taylor(
    options: AnalysisOptions,
    *,
    step: Annotated[
        list[float] | None,
        typer.Option(
            "--step",
            help="h of a finite difference, pixel units in l2; may be given again.",
            show_default="1e-4 to 1",
        ),
    ] = None,
    line: Annotated[
        Literal["gradient", "random"] | None,
        typer.Option("--line", help="Direction of the line.", show_default="gradient"),
    ] = None,
    loss: Annotated[
        Literal["ce", "margin"] | None,
        typer.Option("--loss", help="Loss that is approximated.", show_default="ce"),
    ] = None,
    directions: Annotated[
        int | None,
        typer.Option(
            "--directions", help="Random directions of SOAR's regulariser.", show_default="10"
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="PNG, PDF or SVG [default: beside the results file]."),
    ] = None,
) -> None:
    """Taylor curves: the loss along a line against its second-order approximations.

    Prints measured errors: of the exact Hessian-vector product, of finite differences of several
    steps, of the gradient norm by one difference; and SOAR's regulariser in many directions.

    Example: robcert taylor --model model.onnx --data images.npz --limit 100 --directions 100
    """
    from robcert.certify import landscape
    from robcert.certify.core import Norm
    from robcert.certify.landscape import save_taylor
    from robcert.certify.tables import require_picture

    if picture is not None:
        require_picture(picture)
    settings = landscape.TaylorSettings(
        norm=Norm(options.norm),
        epsilon=one_epsilon(options),
        **given(steps=tuple(step) if step else None, line=line, loss=loss, directions=directions),
    )
    with opened(options) as context:
        store = context.session.store
        path = landscape.analyse_taylor(context.session, settings)
        report_groups(context, "taylor", "taylor", (path,))
        if not len(store.at(path).indices):
            return  # the time budget left nothing to draw
        target = picture or store.path.with_name(f"{store.path.stem}-taylor.png")
        curves = landscape.mean_curves(store.at(path))
        save_taylor(target, *curves, title=f"{store.model['file']} on {store.data['name']}")
        note(options, f"picture: {target}")
