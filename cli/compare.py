"""`robcert compare`: several models on the same images."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robcert.certify.errors import InvalidParameterError

from .shell import values
from .shell.echo import echo_json, echo_text
from .shell.output_format import JsonFlag, OldCsv, OutputFormat, output_format

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robcert.certify.tables import Table

PICTURES = (".png", ".svg", ".pdf")


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Results files; each is compared with the first.")
    ],
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            help="Radius of robust accuracy, pixel units of [0, 1], such as 8/255; may be repeated "
            "[default: those of the files].",
        ),
    ] = None,
    level: Annotated[float, typer.Option("--level", help="Level of each single interval.")] = 0.95,
    correction: Annotated[
        Literal["holm", "bh", "none"],
        typer.Option(
            "--correction",
            help="Adjust p-values for all comparisons of this command: holm controls the "
            "family-wise error rate, bh (Benjamini-Hochberg) the false discovery rate.",
        ),
    ] = "holm",
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Also draw a figure of all models (.png, .svg or .pdf)."),
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Print only the table of the models.")
    ] = False,
    form: Annotated[
        OutputFormat,
        typer.Option(
            "--format",
            help="Print tables, CSV (one line per difference), one JSON object, or the tables as "
            "Markdown or LaTeX.",
        ),
    ] = OutputFormat.TABLE,
    as_json: JsonFlag = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    as_csv: OldCsv = False,
) -> None:
    """Main numbers of several models, and paired differences on the same images and settings.

    First one row per model: accuracy clean, attacked and certified, γ, bounds, the masking verdict,
    the audit's time. Then the differences of every file to the first. Every number names its kind
    of claim: certified, estimated, attacked or measured. Accuracies get McNemar's exact test and
    Newcombe's interval, other numbers the sign test and Student's interval.

    Example: robcert compare honest.h5 masked.h5 --eps 8/255
    """
    printed = output_format(form, as_json=as_json, as_csv=as_csv)
    if picture is not None and picture.suffix not in PICTURES:
        message = f"--picture must end in one of {', '.join(PICTURES)}, got {picture.name!r}"
        raise InvalidParameterError(message)
    epsilons = tuple(values.of_option("--eps", values.epsilon, text) for text in eps or ())
    from robcert.certify import comparison
    from robcert.certify.stats import Correction

    found = comparison.compare(
        results, comparison.ComparisonSettings(epsilons, level, Correction(correction))
    )
    if picture is not None:
        comparison.save_picture(found.rows, picture)
    if printed is OutputFormat.CSV:
        echo_text("\n".join(found.csv_lines()))
    elif printed is OutputFormat.JSON:
        content = {"command": "compare", "robcert_version": version("robcert"), **found.to_json()}
        echo_json(content)
    else:
        _print_tables([next(found.tables())] if brief else found.tables(), printed)
    _require_sound(results)


def _print_tables(tables: Iterable[Table], form: OutputFormat) -> None:
    """Tables for the terminal, or as Markdown or LaTeX."""
    from robcert.certify.exports import latex_tables, markdown_tables, plain_captions

    from .shell.render import print_tables

    if form is OutputFormat.TABLE:
        print_tables(tables)
    else:
        text = latex_tables if form is OutputFormat.LATEX else markdown_tables
        echo_text(text(plain_captions(tables)).rstrip())


def _require_sound(results: list[Path]) -> None:
    """Raise if an adversarial image lies within a proven radius of one of the files.

    Raises:
        ContradictionError: one does.
    """
    from robcert.certify.store import ResultStore, ledger

    for path in results:
        with ResultStore.read(path) as store:
            ledger(store).require_sound()
