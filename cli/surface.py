"""`robcert surface`: the loss in a plane through an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shell.options import AnalysisOptions, analysis_options
from .shell.run import given, report_groups
from .shell.session import note, one_epsilon, opened


@analysis_options
def surface(
    options: AnalysisOptions,
    *,
    index: Annotated[int, typer.Option("--index", min=0, help="Which image.")] = 0,
    resolution: Annotated[
        int | None, typer.Option("--resolution", help="Points along a side.", show_default="41")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of the attack.", show_default="50")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="PNG, PDF or SVG [default: beside the results file]."),
    ] = None,
) -> None:
    """Loss surface: the loss and the classes in the plane of an attack and a random direction.

    Prints measured numbers and saves a picture. A jagged surface is a sign of masked gradients.

    Example: robcert surface --model model.onnx --data images.npz --index 126
    """
    from dataclasses import replace

    from robcert.certify import landscape
    from robcert.certify.core import Norm
    from robcert.certify.landscape import save_surface
    from robcert.certify.tables import require_picture

    if picture is not None:
        require_picture(picture)
    settings = landscape.SurfaceSettings(
        norm=Norm(options.norm),
        epsilon=one_epsilon(options),
        **given(resolution=resolution, steps=steps),
    )
    _one_image(options)
    with opened(replace(options, indices=str(index))) as context:
        store = context.session.store
        path = landscape.analyse_surface(context.session, settings)
        report_groups(context, "surface", "surface", (path,))
        if len(store.at(path).missing(context.session.indices)):
            return  # the time budget left nothing to draw
        target = picture or store.path.with_name(f"{store.path.stem}-surface-{index}.png")
        grids = landscape.grids(store.at(path), index)
        title = f"{store.model['file']}, image {index} of {store.data['name']}"
        save_surface(target, grids, epsilon=settings.epsilon, title=title)
        note(options, f"picture: {target}")


def _one_image(options: AnalysisOptions) -> None:
    """Refuse the options that choose several images.

    Raises:
        InvalidParameterError: --limit, --every or --indices was given.
    """
    from robcert.certify.errors import InvalidParameterError

    chosen = {"--limit": options.limit, "--every": options.every, "--indices": options.indices}
    for name, value in chosen.items():
        if value is not None:
            message = f"{name} chooses several images, and a surface is drawn around one"
            raise InvalidParameterError(message, hint="choose one by --index, such as --index 3")
