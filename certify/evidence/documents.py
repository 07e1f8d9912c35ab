"""The files of `robcert evidence` in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.auditing import verdict
from robcert.certify.errors import InvalidParameterError
from robcert.certify.exports import json_bytes
from robcert.certify.whole_file import write_whole

from .counter_examples import bundle, counter_examples, originals
from .model_bill import model_bill
from .model_card import model_card
from .statement import statement

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.auditing import Findings
    from robcert.certify.store import ResultStore

    from .checks import Check

STATEMENT = "test-result.intoto.json"
BILL = "model.cdx.json"
CARD = "model-card.md"
FOLDER = "counter-examples"


@dataclass(frozen=True, slots=True)
class EvidencePlan:
    """What is written.

    Attributes:
        folder: folder of the files; created if there is none.
        counter_examples: adversarial images per class in the bundle; 0 for no bundle.
        data: path or name of the data set, for unchanged images in the bundle; None for the name
            in the results file, if that is available here.
    """

    folder: Path
    counter_examples: int = 0
    data: str | None = None


def write_evidence(
    store: ResultStore, found: Findings, checks: tuple[Check, ...], plan: EvidencePlan
) -> tuple[Path, ...]:
    """Write statement, bill of materials, model card and counter-examples; their paths.

    All are made before the first is written.

    Raises:
        InvalidParameterError: the file has no numbers, or no adversarial images for the bundle.
        DataError: the data set cannot be read, or is another one.
        OutputError: a file cannot be written.
    """
    if found.attack is None and found.clean is None and found.verification is None:
        message = f"{store.path} has no accuracy of the model"
        raise InvalidParameterError(message, hint="run robcert audit in the same --out")
    said = verdict(found)
    files = {
        STATEMENT: json_bytes(statement(store, found, said, checks)),
        BILL: json_bytes(model_bill(store, found, said)),
        CARD: model_card(store, found, said, checks).encode(),
    }
    if plan.counter_examples:
        chosen = counter_examples(store, found, plan.counter_examples)
        made = bundle(store, chosen, originals(store, plan.data, chosen))
        files |= {f"{FOLDER}/{name}": content for name, content in made.items()}
    for name, content in files.items():
        write_whole(plan.folder / name, content)
    return tuple(plan.folder / name for name in files)
