"""`robcert export`: writes a checkpoint as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shell.echo import echo


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint or run folder of robcert train.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="ONNX file [default: model.onnx in the run folder]."),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            help="Architecture module:factory that the checkpoint names, if you trust it.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write a checkpoint as ONNX, with logits, dynamic batch, preprocessing and provenance.

    Prints the path. The outputs of the file are compared with those of the network (a measured
    quantity); a difference is an error.

    Example: robcert export runs/standard
    """
    from robcert.trainers.export import export_checkpoint
    from robcert.trainers.networks import allow

    if arch is not None:
        allow(arch)
    target = export_checkpoint(checkpoint, out)
    echo(str(target))
    echo(f"next: robcert audit --model {target}", err=True)
