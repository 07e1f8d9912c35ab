"""The options that every analysis shares, declared once."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")
NormName = Literal["l1", "l2", "linf"]
ProfileName = Literal["quick", "standard", "thorough"]


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """What the shared options of an analysis command said, as typed."""

    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="ONNX file, checkpoint or run folder [default: the demo model]."
        ),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help="Images: a data set by name (see robcert datasets), an .npz, .npy or HDF5 file, "
            "or a folder [default: what the model names, else the bundled images if they fit].",
        ),
    ] = None
    data_root: Annotated[
        Path | None, typer.Option("--data-root", help="Where data sets by name are kept.")
    ] = None
    limit: Annotated[int | None, typer.Option("--limit", help="The first N images only.")] = None
    every: Annotated[int | None, typer.Option("--every", help="Every K-th image only.")] = None
    indices: Annotated[
        str | None, typer.Option("--indices", help="These images only, for instance 0,5,10-19.")
    ] = None
    norm: Annotated[NormName, typer.Option("--norm", help="Norm of distances.")] = "linf"
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            help="Distance in pixel units of [0, 1], such as 8/255 or 0.03; may be given again "
            "[default: 8/255 for linf, 0.5 for l2, 12 for l1].",
        ),
    ] = None
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random draw.")] = 0
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or cuda:1, for instance.")
    ] = "auto"
    batch_size: Annotated[
        str, typer.Option("--batch-size", help="Images a step; changes speed only. auto or N.")
    ] = "auto"
    threads: Annotated[
        int | None, typer.Option("--threads", help="CPU threads [default: all cores].")
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Results file [default: robcert-results/<model>-<sha8>.h5]."
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin the results file anew.")] = (
        False
    )
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False
    profile: Annotated[ProfileName, typer.Option("--profile", help="How much work to spend.")] = (
        "standard"
    )
    preprocess: Annotated[
        Path | None,
        typer.Option("--preprocess", help="JSON file: how pixels become the model's input."),
    ] = None
    mean: Annotated[
        str | None, typer.Option("--mean", help="Subtracted, one number or one a channel: 0.5,0.5.")
    ] = None
    std: Annotated[
        str | None, typer.Option("--std", help="Divided by, one number or one a channel.")
    ] = None
    value_range: Annotated[
        str | None, typer.Option("--range", help="What black and white become first, as 0,255.")
    ] = None
    layout: Annotated[
        Literal["NCHW", "NHWC", "flat"] | None,
        typer.Option("--layout", help="Axis order of the model's input."),
    ] = None
    output: Annotated[
        str | None, typer.Option("--output", help="Which output of the model holds the scores.")
    ] = None
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="module:factory that a checkpoint names, if you trust it."),
    ] = None
    allow_low_accuracy: Annotated[
        bool,
        typer.Option("--allow-low-accuracy", help="Go on even if the model is at chance."),
    ] = False
    time_budget: Annotated[
        str | None, typer.Option("--time-budget", help="Begin nothing new after 90s, 10m or 1h.")
    ] = None


def analysis_options(command: Callable[..., R]) -> Callable[..., R]:
    """``command`` with its parameter ``options`` spread into the fields of AnalysisOptions."""
    return spread_options(command, AnalysisOptions)


def spread_options(
    command: Callable[..., R], kind: type[Any], name: str = "options"
) -> Callable[..., R]:
    """``command`` with the fields of ``kind`` in the place of its parameter ``name``.

    Typer reads the new signature; the command still receives one object.
    """
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != name]

    @wraps(command)
    def spread(**given: Any) -> R:
        options = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        return command(**{name: options}, **given)

    parameters = [*own, *shared]
    spread.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    )
    spread.__annotations__ = {p.name: p.annotation for p in parameters}
    del spread.__wrapped__
    return spread
