"""`robcert compare`: several models on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.errors import InvalidParameterError, StoreError

from .shell import values

if TYPE_CHECKING:
    from robcert.certify.comparison import Difference, Overview
    from robcert.certify.store import ResultStore

PICTURES = (".png", ".svg", ".pdf")


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Results files; each is compared with the first.")
    ],
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            help="Distance of robust accuracy, pixel units of [0, 1], such as 8/255; may be given "
            "again [default: those of the files].",
        ),
    ] = None,
    level: Annotated[
        float, typer.Option("--level", help="Level of each interval by itself.")
    ] = 0.95,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Also draw all models side by side (.png, .svg or .pdf)."),
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Only the table of the models side by side.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one line a difference.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Models side by side, and paired differences on the same images with the same settings.

    First a row a model: accuracy clean, attacked and certified, γ, bounds, the masking verdict, the
    audit's time. Then every file against the first. Every number says what it claims: certified,
    estimated, attacked or measured. Shares get the exact McNemar test and Newcombe's interval,
    other numbers the sign test and Student's interval.

    Example: robcert compare honest.h5 masked.h5 --eps 8/255
    """
    if len(results) < 2:
        message = "compare needs at least two results files"
        raise InvalidParameterError(message)
    if as_csv and as_json:
        message = "--csv and --json exclude each other"
        raise InvalidParameterError(message)
    if picture is not None and picture.suffix not in PICTURES:
        message = f"--picture must end in one of {', '.join(PICTURES)}, got {picture.name!r}"
        raise InvalidParameterError(message)
    epsilons = tuple(values.epsilon(text) for text in eps or ())
    from robcert.certify.comparison import overview
    from robcert.certify.store import ResultStore

    epsilon = epsilons[0] if epsilons else None
    with ResultStore.read(results[0]) as first:
        found: dict[str, tuple[Difference, ...]] = {}
        models = {str(results[0]): first.model}
        rows = [overview(first, epsilon=epsilon)]
        for path in results[1:]:
            with ResultStore.read(path) as second:
                found[str(path)] = _differences(first, second, epsilons, level)
                models[str(path)] = second.model
                rows.append(overview(second, epsilon=epsilon))
        data = first.data
    if picture is not None:
        from robcert.certify.comparison import save_picture

        save_picture(rows, picture)
    if as_csv:
        _print_csv(found)
    elif as_json:
        _print_json(models, data, found, rows)
    else:
        _print_tables(found, rows, brief=brief)


def _differences(
    first: ResultStore, second: ResultStore, epsilons: tuple[float, ...], level: float
) -> tuple[Difference, ...]:
    """Every difference of two files.

    Raises:
        StoreError: they are of different data, or hold nothing in common.
    """
    from robcert.certify.comparison import differences

    found = differences(first, second, epsilons=epsilons, level=level)
    if not found:
        message = f"{first.path} and {second.path} hold no number of the same images and settings"
        raise StoreError(message, hint="run the same analysis with the same options on both")
    return found


def _print_csv(found: dict[str, tuple[Difference, ...]]) -> None:
    from robcert.certify.comparison import comparison_lines

    for line in comparison_lines(found):
        typer.echo(line)


def _print_json(
    models: dict[str, dict[str, object]],
    data: dict[str, object],
    found: dict[str, tuple[Difference, ...]],
    rows: list[Overview],
) -> None:
    import json
    from importlib.metadata import version

    from robcert.certify.store import plain

    first = next(iter(models))
    content = {
        "command": "compare",
        "robcert_version": version("robcert"),
        "data": data,
        "labelled": all(row.labelled for row in rows),
        "side_by_side": [row.to_json() for row in rows],
        "first": {"results": first, "model": models[first]},
        "compared": [
            {"results": path, "model": models[path], "differences": list(differences)}
            for path, differences in found.items()
        ],
    }
    typer.echo(json.dumps(plain(content), indent=2, ensure_ascii=False))


def _print_tables(
    found: dict[str, tuple[Difference, ...]], rows: list[Overview], *, brief: bool
) -> None:
    from robcert.certify.comparison import comparison_tables, names, overview_table

    from .shell.render import print_tables

    print_tables([overview_table(rows)])
    if brief:
        return
    first, *others = names(rows)
    labelled = all(row.labelled for row in rows)
    for second, differences in zip(others, found.values(), strict=True):
        print_tables(comparison_tables(first, second, differences, labelled=labelled))
