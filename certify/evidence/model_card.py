"""A section of a Hugging Face model card, with the results in its metadata (``model-index``)."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from robcert.certify.exports import escaped, grid

from .job_summary import CLAIMS, checks_table, numbers_table
from .numbers import main_numbers
from .yaml_text import yaml_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.auditing import AuditVerdict, Findings
    from robcert.certify.store import ResultStore

    from .checks import Check
    from .numbers import MainNumber


def model_card(
    store: ResultStore, found: Findings, verdict: AuditVerdict, checks: Sequence[Check]
) -> str:
    """Metadata between lines of ``---``, then the section *Robustness*."""
    sentences = "".join(f"- {escaped(sentence)}\n" for sentence in verdict.sentences)
    version, data = str(store.header["robcert_version"]), str(store.data["name"])
    digest = str(store.model["sha256"])
    return (
        f"---\n{yaml_text(model_index(store, found))}---\n\n"
        f"## Robustness\n\n**{escaped(verdict.headline)}.**\n\n"
        f"Measured by robcert {escaped(version)} on {escaped(data)}; the audited file has the "
        f"SHA-256 {escaped(digest)}.\n\n"
        f"{grid(numbers_table(found))}\n{escaped(CLAIMS)}\n\n"
        f"### What the numbers rest on\n\n{sentences}\n{grid(checks_table(checks))}"
    )


def model_index(store: ResultStore, found: Findings) -> dict[str, Any]:
    """The metadata: one result with the main numbers as metrics."""
    data = str(store.data["name"])
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": data, "name": data},
        "metrics": [_metric(number) for number in main_numbers(found)],
    }
    name = PurePath(str(store.model["file"])).stem
    return {
        "tags": ["image-classification", "adversarial-robustness"],
        "model-index": [{"name": name, "results": [result]}],
    }


def _metric(number: MainNumber) -> dict[str, Any]:
    kind = "accuracy" if number.name == "clean_accuracy" else number.name
    where = f", {number.where}" if number.where else ""
    stated = {key: value for key, value in number.to_json().items() if value is not None}
    args = {key: value for key, value in stated.items() if key not in ("name", "title", "value")}
    return {
        "type": kind,
        "value": number.value,
        "name": f"{number.title}{where} ({number.claim})",
        "args": args,
    }
