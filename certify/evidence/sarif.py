"""Checks that failed or warned as SARIF 2.1.0, which code hosts show beside the model file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from robcert.certify.visible import visible_line

from .checks import GATE, RULES, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .checks import Check, Rule

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
ROOT = "%SRCROOT%"
LEVELS = {Outcome.FAILED: "error", Outcome.WARNED: "warning"}


@dataclass(frozen=True, slots=True)
class Artifact:
    """The file that results are about.

    Attributes:
        path: path of the model below the root of the repository, with forward slashes.
        sha256: hash of the model.
    """

    path: str
    sha256: str

    @property
    def uri(self) -> str:
        """The path as a relative URI."""
        return quote(os.fsencode(self.path))


def sarif_log(checks: Sequence[Check], artifact: Artifact, command: str) -> dict[str, Any]:
    """The SARIF log of one run of ``command``.

    The location is line 1 of the model file, because code hosts accept results with a file and a
    line only. A fingerprint depends on rule, subject and path, not on thresholds, values and the
    content of the model: an alert stays the same alert while the model is trained further.
    """
    found = [check for check in checks if check.outcome in LEVELS]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver()},
                "automationDetails": {"id": f"robcert/{command}/{artifact.path}/"},
                "originalUriBaseIds": {
                    ROOT: {"description": {"text": "The root of the repository."}}
                },
                "artifacts": [
                    {
                        "location": _artifact_location(artifact),
                        "roles": ["analysisTarget"],
                        "hashes": {"sha-256": artifact.sha256},
                    }
                ],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "exitCode": int(any(c.outcome is Outcome.FAILED for c in checks)),
                    }
                ],
                "results": [_result(check, artifact) for check in found],
            }
        ],
    }


def _driver() -> dict[str, Any]:
    number = version("robcert")
    return {
        "name": "robcert",
        "version": number,
        "semanticVersion": number,
        "rules": [_rule(rule) for rule in RULES],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": f"{rule.title[:1].upper()}{rule.title[1:]}."},
        "fullDescription": {"text": rule.doc},
        "help": {"text": rule.doc},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["robustness", "machine-learning"]},
    }


def _result(check: Check, artifact: Artifact) -> dict[str, Any]:
    message = check.message
    if check.rule is not GATE:  # a gate states what is required; its name keeps its spelling
        message = f"{message[:1].upper()}{message[1:]}. Required: {check.name}"
    return {
        "ruleId": check.rule.id,
        "ruleIndex": RULES.index(check.rule),
        "level": LEVELS[check.outcome],
        "message": {"text": _text(f"{message}.")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {**_artifact_location(artifact), "index": 0},
                    "region": {"startLine": 1},
                }
            }
        ],
        "partialFingerprints": _fingerprints(check, artifact),
    }


def _text(message: str) -> str:
    """``message`` as SARIF writes plain text, in which names make no link and no placeholder."""
    line = visible_line(message).replace("](", "] (")
    return line.replace("{", "{{").replace("}", "}}")


def _artifact_location(artifact: Artifact) -> dict[str, Any]:
    return {"uri": artifact.uri, "uriBaseId": ROOT}


def _fingerprints(check: Check, artifact: Artifact) -> dict[str, str]:
    """The same under robcert's name and under that by which GitHub tells alerts apart."""
    identity = "\n".join((check.rule.id, check.subject, artifact.path))
    digest = sha256(os.fsencode(identity)).hexdigest()
    return {"robcert/v1": digest, "primaryLocationLineHash": f"{digest[:16]}:1"}
