"""An in-toto statement: these checks of this model ended so, with these settings and numbers.

https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from robcert.certify.exports import groups
from robcert.certify.store import plain

from .checks import Outcome, worst
from .numbers import main_numbers

if TYPE_CHECKING:
    from robcert.certify.auditing import AuditVerdict, Findings
    from robcert.certify.store import ResultStore

    from .checks import Check

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
RESULTS = {Outcome.PASSED: "PASSED", Outcome.WARNED: "WARNED", Outcome.FAILED: "FAILED"}


def statement(
    store: ResultStore, found: Findings, verdict: AuditVerdict, checks: tuple[Check, ...]
) -> dict[str, Any]:
    """The statement, not signed. Its subject is the model by the SHA-256 of its file.

    The configuration names the results file, with the settings and the numbers as annotations, and
    the data set, whose digest is that of robcert over pixels and labels.
    """
    names = {
        outcome: [check.name for check in checks if check.outcome is outcome] for outcome in Outcome
    }
    model = {"name": str(store.model["file"]), "digest": {"sha256": str(store.model["sha256"])}}
    return {
        "_type": STATEMENT,
        "subject": [model],
        "predicateType": PREDICATE,
        "predicate": {
            "result": RESULTS[worst(checks)],
            "configuration": [_results_file(store, found, verdict, checks), _data(store)],
            "passedTests": names[Outcome.PASSED],
            "warnedTests": names[Outcome.WARNED],
            "failedTests": names[Outcome.FAILED],
        },
    }


def _results_file(
    store: ResultStore, found: Findings, verdict: AuditVerdict, checks: tuple[Check, ...]
) -> dict[str, Any]:
    annotations = {
        "robcert_version": store.header["robcert_version"],
        "created": store.header["created"],
        "preprocessing": store.model.get("preprocessing"),
        "settings": {
            group.path.strip("/"): {**group.settings, "seed": group.seed} for group in groups(store)
        },
        "headline": verdict.headline,
        "numbers": [number.to_json() for number in main_numbers(found)],
        "checks": [
            {"name": check.name, "rule": check.rule.id, "message": check.message}
            for check in checks
        ],
    }
    return {
        "name": store.path.name,
        "digest": {"sha256": sha256(store.path.read_bytes()).hexdigest()},
        "mediaType": "application/x-hdf5",
        "annotations": plain(annotations),
    }


def _data(store: ResultStore) -> dict[str, Any]:
    return {
        "name": str(store.data["name"]),
        "digest": {"robcertImages256": str(store.data["sha256"])},
        "annotations": {"images": int(store.data["size"])},
    }
