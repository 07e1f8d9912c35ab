"""`robcert evidence`: a results file as statements that other people and programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robcert.certify.errors import InvalidParameterError

from .shell.echo import echo


def evidence(
    results: Annotated[Path, typer.Argument(help="Results file, usually of an audit.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the files.")],
    counter_examples: Annotated[
        bool,
        typer.Option(
            "--counter-examples",
            help="Add the nearest adversarial images of each class and a verify.py that runs the "
            "model on them without robcert. Needs images that an audit, or attack --save-images, "
            "kept.",
        ),
    ] = False,
    per_class: Annotated[
        int, typer.Option("--per-class", help="Counter-examples per class.", min=1)
    ] = 10,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help="Data set of the results, to add the unchanged images to the counter-examples "
            "[default: by the name in the file, if it is there].",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write what a results file shows as statements for other people and programs.

    These are an in-toto test-result statement, a CycloneDX bill of materials with the model's card,
    and a section of a Hugging Face model card with its metadata. Every number is marked as
    certified, attacked or measured, and the gates of the last audit are among the checks. Nothing
    is computed again, and nothing is signed.

    Example: robcert evidence results.h5 --out evidence

    Example: robcert evidence results.h5 --out evidence --counter-examples
    """
    from robcert.certify.auditing import findings_of
    from robcert.certify.evidence import EvidencePlan, checks_of, write_evidence
    from robcert.certify.gates import recorded
    from robcert.certify.store import ResultStore, ledger

    if data is not None and not counter_examples:
        message = "--data has no effect without --counter-examples"
        raise InvalidParameterError(message, hint="add --counter-examples, or omit --data")
    plan = EvidencePlan(out, per_class if counter_examples else 0, data)
    with ResultStore.read(results) as store:
        found = findings_of(store)
        made = checks_of(store, found, recorded(store))
        for path in write_evidence(store, found, made, plan):
            echo(str(path))
        ledger(store).require_sound()
