"""The answer to a property as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.core import Kind
from robcert.certify.tables import DASH, Table, decimal

from .summary import Answer
from .witness import shortest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .summary import PropertySummary
    from .witness import Witness

SHOWN = 12
"""Inputs and outputs of a counterexample that the table shows; the answer file has all."""


def tables(summary: PropertySummary) -> Iterator[Table]:
    """The answer, and the counterexample if there is one."""
    shape = " × ".join(map(str, summary.input_shape))
    facts = (
        ("answer", str(summary.answer)),
        ("property", f"{Path(summary.property_file).name} (VNN-LIB {summary.version})"),
        ("inputs", f"{shape}, as the model file takes them (not pixels)"),
        ("outputs", f"{summary.outputs}, of {summary.output_name}"),
        ("cases", f"{summary.cases}, proved unreachable: {summary.proved}"),
        ("method", str(summary.method or DASH)),
        ("branches", str(summary.branches)),
        ("seconds", decimal(summary.seconds)),
    )
    claims = {Answer.HOLDS: Kind.CERTIFIED, Answer.VIOLATED: Kind.ATTACKED}
    claim = str(claims.get(summary.answer, ""))
    note = " ".join([summary.meaning, *(f"{note[0].upper()}{note[1:]}." for note in summary.notes)])
    yield Table(f"property of {Path(summary.model).name}", claim, ("what", "value"), facts, note)
    if summary.witness is not None:
        yield _counterexample(summary.witness)


def _counterexample(witness: Witness) -> Table:
    inputs = [(f"X_{i}", shortest(float(value))) for i, value in enumerate(witness.inputs)]
    outputs = [(f"Y_{j}", shortest(value)) for j, value in enumerate(witness.outputs)]
    rows = (*inputs[:SHOWN], *outputs[:SHOWN])
    left = len(inputs) + len(outputs) - len(rows)
    note = "Outputs are those of ONNX Runtime on these inputs. "
    note += f"{left} more numbers, and all" if left else "All"
    note += " inputs to the last digit, are in the answer file (--answers) and in --json."
    if witness.exact:
        return Table("counterexample", str(Kind.ATTACKED), ("number", "value"), rows, note)
    title = "nearest input, within the tolerance of the competition"
    return Table(title, str(Kind.MEASURED), ("number", "value"), rows, note)
