"""A CycloneDX 1.6 bill of materials with the model and its card."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from robcert.certify.tables import fact
from robcert.certify.visible import visible_line

from .numbers import main_numbers

if TYPE_CHECKING:
    from robcert.certify.auditing import AuditVerdict, Findings
    from robcert.certify.store import ResultStore

    from .numbers import MainNumber

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "cyclonedx.robcert")


def model_bill(store: ResultStore, found: Findings, verdict: AuditVerdict) -> dict[str, Any]:
    """The bill of materials; the same results file gives the same bill."""
    numbers = main_numbers(found)
    content = (str(store.model["sha256"]), str(store.data["sha256"]), str(store.header["created"]))
    values = (f"{number.full_name}={number.value!r}" for number in numbers)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, ' '.join((*content, *values)))}",
        "version": 1,
        "metadata": {
            "timestamp": store.header["created"],
            "tools": {
                "components": [
                    {
                        "type": "application",
                        "name": "robcert",
                        "version": str(store.header["robcert_version"]),
                    }
                ]
            },
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": visible_line(str(store.model["file"])),
                "hashes": [{"alg": "SHA-256", "content": str(store.model["sha256"])}],
                "modelCard": _card(store, numbers, verdict),
            },
        },
    }


def _card(
    store: ResultStore, numbers: tuple[MainNumber, ...], verdict: AuditVerdict
) -> dict[str, Any]:
    model = store.model
    return {
        "modelParameters": {
            "task": "image-classification",
            "datasets": [_data_set(store)],
            "inputs": [{"format": visible_line(fact(model.get("preprocessing") or {}))}],
            "outputs": [{"format": visible_line(f"class scores, {model.get('output_name', '')}")}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [_metric(number) for number in numbers]},
        "considerations": {
            "technicalLimitations": [
                visible_line(f"{verdict.headline}."),
                *map(visible_line, verdict.sentences),
            ]
        },
    }


def _data_set(store: ResultStore) -> dict[str, Any]:
    properties = [
        {"name": "robcert:sha256-of-pixels-and-labels", "value": str(store.data["sha256"])},
        {"name": "robcert:images", "value": str(store.data["size"])},
    ]
    name = visible_line(str(store.data["name"]))
    return {"type": "dataset", "name": name, "contents": {"properties": properties}}


def _metric(number: MainNumber) -> dict[str, Any]:
    """One metric; the interval only where there is one."""
    where = f", {number.where}" if number.where else ""
    metric: dict[str, Any] = {
        "type": number.full_name,
        "value": repr(number.value),
        "slice": f"{number.claim}: {number.title}{where}; {number.n} images",
    }
    if number.lower == number.lower and number.upper == number.upper:  # not NaN
        limits = {"lowerBound": repr(number.lower), "upperBound": repr(number.upper)}
        metric["confidenceInterval"] = limits
    return metric
