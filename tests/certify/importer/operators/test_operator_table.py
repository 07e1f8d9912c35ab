"""The table against ONNX's own operator definitions."""

from __future__ import annotations

import functools

import onnx.defs
import pytest
from onnx_cases.node_cases import claimed

from robcert.certify.importer.operators.operator_table import OPERATORS, keyword, lookup
from robcert.certify.importer.twin.twin import CONTROL


@functools.cache
def definitions() -> dict[str, list[onnx.defs.OpSchema]]:
    """Every version of every operator's definition."""
    result: dict[str, list[onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            result.setdefault(schema.name, []).append(schema)
    return result


def schemas(operator: str) -> list[onnx.defs.OpSchema]:
    """Every version of one operator's definition."""
    return definitions()[operator]


@pytest.mark.parametrize("operator", [name for name in claimed() if name not in CONTROL])
def test_rows_take_every_input_and_attribute_of_the_versions_they_claim(operator: str) -> None:
    lacking = []
    for schema in schemas(operator):
        row = lookup("", operator, schema.since_version)
        if row is None:
            continue
        known = row.attributes | {keyword(name) for name in row.ignore}
        names = {name for name in schema.attributes if keyword(name) not in known}
        lacking += [f"version {schema.since_version}: attribute {name}" for name in sorted(names)]
        if len(schema.inputs) > len(row.parameters):
            lacking.append(f"version {schema.since_version}: {len(schema.inputs)} inputs")
        if schema.max_output > 1 and "n_outputs" not in row.context:
            lacking.append(f"version {schema.since_version}: {schema.max_output} outputs")
    assert lacking == []


def test_every_row_is_an_operator_of_onnx() -> None:
    own = {"SimplifiedLayerNormalization"}  # the runtime's, in ONNX's domain all the same
    assert {name for domain, name in OPERATORS if domain == ""} - own <= definitions().keys()


def test_required_attributes_are_required_by_onnx_too() -> None:
    for domain, name in OPERATORS:
        for schema in definitions().get(name, []) if domain == "" else []:
            row = lookup("", name, schema.since_version)
            optional = {keyword(n) for n, a in schema.attributes.items() if not a.required}
            assert row is None or not row.required & optional, (name, schema.since_version)


def test_the_newest_row_that_is_old_enough_is_chosen() -> None:
    old, new = lookup("", "Clip", 10), lookup("", "Clip", 11)
    assert old is not None
    assert new is not None
    assert (old.since, new.since) == (6, 11)
    assert lookup("", "Clip", 5) is None
    assert lookup("", "NoSuchOperator", 20) is None
