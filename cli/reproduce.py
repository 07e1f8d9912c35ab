"""`robcert reproduce`: a paper's table or figure, with its numbers beside ours."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.errors import InvalidParameterError
from robcert.certify.number_text import number

from .shell import names
from .shell.echo import echo, echo_json
from .shell.invocation import remember_saved
from .shell.progress import TerminalProgress
from .shell.render import print_tables, print_warning

if TYPE_CHECKING:
    from robcert.reproduction import Outcome, ReproductionRequest

FOLDER = Path("reproduced")
"""Folder of the folders of items."""


def reproduce(
    item: Annotated[
        str | None,
        typer.Argument(help="Table or figure, such as LLR-Tab2; see --list.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help="Training images as of robcert train: a data set's name, a file or a folder "
            "[default: the paper's].",
            autocompletion=names.completing(names.DATA_SETS),
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option("--data-root", help="Folder of the data sets given by name.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            help="Share of the paper's epochs, images, width, restarts and draws, from above 0 to "
            "1; warm-ups and milestones shrink with the epochs.",
            parser=number,
            metavar="<float>",
            show_default="1",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Trainings of each model, with seeds 0, 1, …")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of everything [default: reproduced/ITEM]."),
    ] = None,
    as_list: Annotated[
        bool, typer.Option("--list", help="List all items and what each needs.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="Device: auto, cpu, cuda or, for example, cuda:1.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", help="CPU threads [default: all cores].")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", help="Processes of one thread each that compute the images of an analysis."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Train and analyse the models of a paper's table or figure; print its numbers beside ours.

    Prints certified, estimated, attacked and measured numbers, each column with its kind, and
    writes a page with differences and intervals, pictures, what was shrunk, and the commands. What
    is finished is kept: the same command continues.

    Example: robcert reproduce LLR-Tab2 --data fashion-mnist --scale 0.02 --out tab2
    """
    from robcert.reproduction import ReproductionRequest, Scale, item_named

    if as_list:
        _print_list(item, as_json=as_json)
        return
    if item is None:
        message = "robcert reproduce needs an item"
        raise InvalidParameterError(message, hint="robcert reproduce --list names all items")
    found = item_named(item)
    request = ReproductionRequest(
        found,
        out or FOLDER / found.name,
        data=data or "",
        data_root=data_root,
        scale=Scale(1.0 if scale is None else scale),
        seeds=seeds,
        device=device,
        threads=threads,
        workers=workers,
    )
    _print(_reproduced(request, quiet=quiet), as_json=as_json)


def _reproduced(request: ReproductionRequest, *, quiet: bool) -> Outcome:
    """The outcome; what is finished stays, whatever ends the work."""
    from robcert.reproduction import Reproduction, Watcher, outcome_of

    from .shell.session import tune_torch

    def tell(line: str) -> None:
        if not quiet:
            echo(line, err=True)

    tune_torch(request.threads)
    with TerminalProgress(quiet=quiet) as progress:
        try:
            work = Reproduction(request, Watcher(progress, tell, print_warning)).run()
        finally:
            remember_saved(request.begun)
    return outcome_of(request, work)


def _print(outcome: Outcome, *, as_json: bool) -> None:
    """Write the files of ``outcome`` and print it."""
    from robcert.reproduction import write_outcome

    page = write_outcome(outcome)
    if as_json:
        content = {
            "command": "reproduce",
            "robcert_version": version("robcert"),
            **outcome.to_json(),
            "folder": str(outcome.request.out),
            "page": str(page),
        }
        echo_json(content)
        return
    print_tables([outcome.table()])
    echo(f"page:    {page}")
    echo(f"results: {outcome.request.out / 'results'}")


def _print_list(item: str | None, *, as_json: bool) -> None:
    """Print all items.

    Raises:
        InvalidParameterError: one is named too.
    """
    from robcert.reproduction import listing, needs

    if item is not None:
        message = "--list lists all items: it takes none"
        raise InvalidParameterError(message, hint=f"robcert reproduce {item}, or --list alone")
    if as_json:
        echo_json({"command": "reproduce", "items": needs()})
    else:
        print_tables([listing()])
