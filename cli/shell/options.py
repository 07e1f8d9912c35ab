"""The options that several commands share, declared once.

A command has only the groups of shared options that its output depends on.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from robcert.certify.core import Norm

from . import names, values
from .planning import plannable

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")
ProfileName = Literal["quick", "standard", "thorough"]


def norm_option(doc: str, *, show_default: str | bool = True) -> Any:
    """Option `--norm`, which accepts common spellings: l2, L2, inf, Linf.

    Args:
        doc: help text of the option.
        show_default: the default in the help text; True for the default of the parameter.
    """
    return typer.Option(
        "--norm",
        help=doc,
        show_default=show_default,
        parser=values.norm,
        metavar="[l1|l2|linf]",
        autocompletion=names.completing(tuple(Norm)),
    )


@dataclass(frozen=True)  # without slots: classes with slots cannot be combined by inheritance
class ModelOptions:
    """Options of the model and its preprocessing."""

    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="ONNX file, checkpoint or run folder [default: the demo model]."
        ),
    ] = None
    preprocess: Annotated[
        Path | None,
        typer.Option("--preprocess", help="Preprocessing of pixels: a JSON file, or JSON text."),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option("--mean", help="Subtracted: one number, or one per channel as in 0.5,0.5."),
    ] = None
    std: Annotated[
        str | None, typer.Option("--std", help="Divided by: one number, or one per channel.")
    ] = None
    value_range: Annotated[
        str | None,
        typer.Option("--range", help="Values of black and white before --mean, such as 0,255."),
    ] = None
    layout: Annotated[
        Literal["NCHW", "NHWC", "flat"] | None,
        typer.Option("--layout", help="Axis order of the model's input."),
    ] = None
    output: Annotated[
        str | None, typer.Option("--output", help="Output of the model with the class scores.")
    ] = None
    task: Annotated[
        Literal["multiclass"] | None,
        typer.Option(
            "--task",
            help="multiclass: each image has one class although the model ends with a sigmoid over "
            "more than two.",
        ),
    ] = None
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            help="module:factory that a checkpoint names; its code runs, so pass it only if you "
            "trust it.",
        ),
    ] = None
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or cuda:1, for instance.")
    ] = "auto"
    threads: Annotated[
        int | None, typer.Option("--threads", help="CPU threads [default: all cores].")
    ] = None
    call_limit: Annotated[
        str | None,
        typer.Option(
            "--call-limit",
            help="Longest time of one call of the model, such as 90s or 10m [default: 60s, and 5s "
            "for each image of its batch].",
        ),
    ] = None
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            help="Memory that the model may use, such as 900M or 8G [default: 3G to load an ONNX "
            "file, and where its cost depends on the pixels; else that of the machine].",
        ),
    ] = None


@dataclass(frozen=True)
class DataOptions:
    """Options of the image set."""

    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help="Images: a data set by name (see robcert datasets), an .npz, .npy or HDF5 file, "
            "a folder, files .tar or .parquet (val-*.tar), or an address (s3://...) [default: the "
            "data set that the model names, else bundled images if they fit].",
            autocompletion=names.completing(names.DATA_SETS),
        ),
    ] = None
    data_root: Annotated[
        Path | None, typer.Option("--data-root", help="Folder of the data sets by name.")
    ] = None


@dataclass(frozen=True)
class SelectionOptions:
    """Options that select the images to report on."""

    limit: Annotated[int | None, typer.Option("--limit", help="The first N images only.")] = None
    every: Annotated[int | None, typer.Option("--every", help="Every K-th image only.")] = None
    indices: Annotated[
        str | None, typer.Option("--indices", help="These images only, for instance 0,5,10-19.")
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            help="Of these the i-th of n parts, such as 2/8; robcert merge joins the results.",
        ),
    ] = None


@dataclass(frozen=True)
class BallOptions:
    """Norm and radius of the perturbations."""

    norm: Annotated[Norm, norm_option("Norm of distances.")] = Norm.LINF
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            help="Distance in pixel units of [0, 1], such as 8/255 or 0.03; may be repeated "
            "[default: 8/255 for linf, 0.5 for l2, 12 for l1; for verify all radii of an audit].",
        ),
    ] = None


@dataclass(frozen=True)
class ProfileOptions:
    """Option of the amount of work."""

    profile: Annotated[ProfileName, typer.Option("--profile", help="Amount of work per image.")] = (
        "standard"
    )


@dataclass(frozen=True)
class RunOptions:
    """Options of the run of an analysis and its results file."""

    seed: Annotated[int, typer.Option("--seed", help="Seed of every random draw.")] = 0
    batch_size: Annotated[
        str, typer.Option("--batch-size", help="Images per step, auto or N; changes speed only.")
    ] = "auto"
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            help="Processes of one thread each that compute the images, N or auto; changes speed "
            "only [default: none, threads].",
        ),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            help="Compute the images on the nodes of a Ray cluster: local, auto or HOST:PORT; "
            "changes speed only; needs robcert[cluster].",
        ),
    ] = None
    ray_resources: Annotated[
        str | None,
        typer.Option(
            "--ray-resources",
            help="What each worker requests of its node, such as gpu=1 or cpu=2,memory=4G "
            "[default: cpu=1].",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Results file [default: robcert-results/<model>-<sha8>.h5]."
        ),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results file if there is one.")
    ] = False
    allow_low_accuracy: Annotated[
        bool,
        typer.Option(
            "--allow-low-accuracy", help="Continue even if clean accuracy is at chance level."
        ),
    ] = False
    time_budget: Annotated[
        str | None, typer.Option("--time-budget", help="Start no new work after 90s, 10m or 1h.")
    ] = None


@dataclass(frozen=True)
class ConfigurationOptions:
    """Options of the configuration file, which :class:`ConfiguredCommand` reads."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Configuration file, whose values are the defaults of options [default: "
            "robcert.toml, or [tool.robcert] of pyproject.toml, here or in a folder above up to "
            "that of the repository].",
        ),
    ] = None
    no_config: Annotated[bool, typer.Option("--no-config", help="Read no configuration file.")] = (
        False
    )


@dataclass(frozen=True)
class OutputOptions:
    """Options of the output."""

    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.")
    ] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False


@dataclass(frozen=True)
class CheckFileOptions:
    """Options of the files that tell other programs how the checks of a command ended."""

    junit: Annotated[
        Path | None,
        typer.Option(
            "--junit",
            help="Write the checks as JUnit XML, one test case each: thresholds, masking, ledger, "
            "gradients, input.",
        ),
    ] = None
    sarif: Annotated[
        Path | None,
        typer.Option(
            "--sarif", help="Write failed checks and warnings as SARIF 2.1.0, for code hosts."
        ),
    ] = None
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown", help="Write a summary of the job in Markdown: verdict, checks, numbers."
        ),
    ] = None


@dataclass(frozen=True)
class AnalysisOptions(
    CheckFileOptions,
    OutputOptions,
    ConfigurationOptions,
    RunOptions,
    ProfileOptions,
    BallOptions,
    SelectionOptions,
    DataOptions,
    ModelOptions,
):
    """Values of all shared options; groups that a command does not have keep their defaults."""


ModelAndData = (ModelOptions, DataOptions)
Output = (ConfigurationOptions, OutputOptions)
Run = (RunOptions, *Output)
EveryGroup = (*ModelAndData, SelectionOptions, BallOptions, ProfileOptions, *Run)
"""Groups of options of most analyses."""

CheckedGroup = (*EveryGroup, CheckFileOptions)
"""Groups of options of the analyses that check something, and exit with 1 if it fails."""


def analysis_options(
    *groups: type[Any],
) -> Callable[[Callable[..., R]], Callable[..., R | None]]:
    """Decorator: the parameter ``options`` of a command becomes the shared options of ``groups``.

    The command receives one AnalysisOptions.
    """

    def decorated(command: Callable[..., R]) -> Callable[..., R | None]:
        planned = plannable(command, profiled=ProfileOptions in groups)
        return _expand(planned, AnalysisOptions, groups)

    return decorated


def shared_options() -> frozenset[str]:
    """Spellings of the options in all groups, such as ``--limit`` and ``-d``."""
    hints = get_type_hints(AnalysisOptions, include_extras=True).values()
    found = [hint.__metadata__[0] for hint in hints]
    # inside Annotated, Typer keeps the first spelling in the place of the default
    return frozenset(name for info in found for name in (info.default, *info.param_decls))


def expand_options(
    command: Callable[..., R], kind: type[Any], name: str = "options"
) -> Callable[..., R]:
    """``command`` with the fields of ``kind`` instead of its parameter ``name``."""
    return _expand(command, kind, (kind,), name)


def _expand(
    command: Callable[..., R], kind: type[Any], groups: tuple[type[Any], ...], name: str = "options"
) -> Callable[..., R]:
    """``command`` with the fields of ``groups`` instead of its parameter ``name``.

    Typer reads the new signature; the command still receives one object of the class ``kind``. A
    parameter of the command takes the place of a field of the same name.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != name]
    taken = {parameter.name for parameter in own}
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hint,
        )
        for group in groups
        for field, hint in zip(
            fields(group), get_type_hints(group, include_extras=True).values(), strict=True
        )
        if field.name not in taken
    ]

    @wraps(command)
    def expanded(**typed: Any) -> R:
        options = kind(**{parameter.name: typed.pop(parameter.name) for parameter in shared})
        return command(**{name: options}, **typed)

    parameters = [*own, *shared]
    expanded.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    )
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    del expanded.__wrapped__
    return expanded
