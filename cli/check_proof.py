"""`robcert check-proof`: proofs of `robcert verify`, proved again without its code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.errors import ProofError

from .shell.echo import echo, echo_json

if TYPE_CHECKING:
    from robcert.certify.proof_check import CheckResult, Report


def check_proof(
    proof: Annotated[Path, typer.Argument(help="File of robcert verify --save-proof.")],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="The ONNX file that the proofs are about.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Prove the statements of a proof file again, independently of the prover.

    Reads the model by itself and computes in NumPy in float64, without the code of robcert verify.
    Prints certified statements and the measured margin of each image, then the model, the
    preprocessing and the images that they are about. Exit status: 0 all proved, 1
    not all, 2 the proof was changed, is damaged or is about another model.

    Example: robcert check-proof proof.h5 --model model.onnx
    """
    from robcert.certify.proof_check import ProofCheckError, check, require_whole

    try:
        require_whole(proof)
        _require_readable(proof)
        report = check(proof, model, on_verdict=None if as_json else _print_verdict)
    except ProofCheckError as error:
        raise ProofError(str(error), hint=error.hint) from error
    if as_json:
        echo_json(_json(report))
    else:
        for line in (report.claim, *report.subject):
            echo(line)
    if not report.proved:
        raise typer.Exit(1)


def _require_readable(proof: Path) -> None:
    """Raise unless a child process could read all of a file: the HDF5 library may crash on it.

    Raises:
        ProofError: it could not.
    """
    from robcert.certify.hdf5 import fault_of_file

    fault = fault_of_file(proof)
    if fault is not None:
        message = f"{proof} is damaged at {fault.place or '/'}: {fault.reason}"
        raise ProofError(message)


def _print_verdict(verdict: CheckResult) -> None:
    """One line about a statement."""
    ball = f"within {verdict.norm} distance {verdict.radius:.6g}"
    what = f"image {verdict.index}, class {verdict.label} {ball}"
    if verdict.proved:
        found = f"proved: margin {verdict.margin:.4g} at the image, at least {verdict.bound:.3g}"
    else:
        found = f"NOT proved: {verdict.reason}"
    count = f"{verdict.leaves} regions, " if verdict.leaves else ""
    echo(f"{what}: {found} ({count}{verdict.seconds:.2f} s)")


def _json(report: Report) -> dict[str, object]:
    rows = [asdict(verdict) for verdict in report.verdicts]
    for row in rows:  # JSON has no infinity
        row["bound"] = row["bound"] if abs(row["bound"]) < float("inf") else None
    return {
        "command": "check-proof",
        "model": report.about.model_file,
        "model_sha256": report.about.model_sha256,
        "output": report.about.output,
        "preprocessing": json.loads(report.about.preprocessing),
        "data": report.about.data_name,
        "arithmetic": "float32" if report.about.float32 else "real",
        "proved": report.proved,
        "claim": report.claim,
        "statements": rows,
    }
