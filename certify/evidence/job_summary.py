"""The summary of a CI job as Markdown: verdict, numbers, checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.exports import escaped, grid
from robcert.certify.tables import DASH, Table

from .numbers import main_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.auditing import AuditVerdict, Findings
    from robcert.certify.store import ResultStore

    from .checks import Check

CLAIMS = (
    "Claims: certified is proven, or holds with the stated probability; attacked is an upper limit "
    "of robustness, found and re-checked; measured is a fact about these images. Distances are in "
    "pixel units of [0, 1]; intervals are those of 95 % for unseen images of the same kind."
)


def job_summary(
    store: ResultStore, found: Findings, verdict: AuditVerdict, checks: Sequence[Check]
) -> str:
    """The whole summary."""
    model, data = store.model, store.data
    sentences = "".join(f"- {escaped(sentence)}\n" for sentence in verdict.sentences)
    about = f"{model['file']} on {data['name']}, sha256 of the model {model['sha256']}"
    return (
        f"## robcert: {escaped(verdict.headline)}\n\n{escaped(about)}\n\n"
        f"### Checks\n\n{grid(checks_table(checks))}\n"
        f"### Numbers\n\n{grid(numbers_table(found))}\n{escaped(CLAIMS)}\n\n"
        f"### Verdict\n\n{sentences}"
    )


def checks_table(checks: Sequence[Check]) -> Table:
    """One row per check."""
    rows = tuple((str(check.outcome), check.name, check.message) for check in checks)
    return Table("checks", "", ("outcome", "check", "what was found"), rows)


def numbers_table(found: Findings) -> Table:
    """One row per main number."""
    rows = tuple(
        (
            number.title,
            number.where or DASH,
            str(number.claim),
            number.value_text,
            number.interval_text,
            str(number.n),
        )
        for number in main_numbers(found)
    )
    header = ("number", "norm and radius", "claim", "value", "95 % interval", "images")
    return Table("numbers", "", header, rows)
