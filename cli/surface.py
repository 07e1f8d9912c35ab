"""`robcert surface`: the loss in a plane through an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .shell.options import AnalysisOptions, BallOptions, ModelAndData, Run, analysis_options
from .shell.run import report_groups
from .shell.session import command_context, note, one_epsilon
from .shell.values import either


@analysis_options(*ModelAndData, BallOptions, *Run)
def surface(
    options: AnalysisOptions,
    *,
    index: Annotated[int, typer.Option("--index", min=0, help="Index of the image.")] = 0,
    resolution: Annotated[
        int | None,
        typer.Option("--resolution", help="Points per side of the grid.", show_default="41"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Gradient steps of the attack.", show_default="50")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", help="Figure: PNG, PDF or SVG [default: beside the results file]."
        ),
    ] = None,
) -> None:
    """Loss surface: loss and classes in the plane of an attack and a random direction.

    The plane goes through one image, selected by --index. Prints measured numbers and saves a
    figure. A jagged surface is a sign of masked gradients.

    Example: robcert surface --model model.onnx --data images.npz --index 126
    """
    from robcert.certify import landscape
    from robcert.certify.landscape import save_surface
    from robcert.certify.tables import require_picture

    if picture is not None:
        require_picture(picture)
    base = landscape.SurfaceSettings()
    settings = replace(
        base,
        norm=options.norm,
        epsilon=one_epsilon(options),
        resolution=either(resolution, base.resolution),
        steps=either(steps, base.steps),
    )
    with command_context(replace(options, indices=str(index))) as context:
        store = context.session.store
        path = landscape.analyse_surface(context.session, settings)
        report_groups(context, "surface", "surface", (path,))
        if len(store.at(path).missing(context.session.indices)):
            return  # the time budget ended before there was anything to draw
        target = picture or store.path.with_name(f"{store.path.stem}-surface-{index}.png")
        grids = landscape.grids(store.at(path), index)
        title = f"{store.model['file']}, image {index} of {store.data['name']}"
        save_surface(target, grids, epsilon=settings.epsilon, title=title)
        note(options, f"picture: {target}")
