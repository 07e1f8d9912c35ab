"""Cases of today's operators written in older versions, and ONNX Runtime's answer to them."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx.defs
import onnxruntime
from onnx import ModelProto, NodeProto, helper
from onnx_cases.node_cases import as_array, as_tensor, mismatch
from onnx_cases.skips import RANDOM
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from robcert.certify.importer.twin.twin import build_twin

if TYPE_CHECKING:
    from onnx_cases.node_cases import Case

FIRST_OPSET = 7
"""ONNX Runtime has no kernels for the operators of earlier opsets that later ones changed."""

RUNTIME_ERRORS = (
    runtime_state.Fail,
    runtime_state.InvalidArgument,
    runtime_state.InvalidGraph,
    runtime_state.NotImplemented,
    runtime_state.RuntimeException,
)

UNCHECKED: dict[tuple[str, int], str] = {
    ("Bernoulli", 15): RANDOM,
    ("Multinomial", 7): RANDOM,
    ("RandomNormal", 7): RANDOM,
    ("RandomNormalLike", 7): RANDOM,
    ("RandomUniform", 7): RANDOM,
    ("RandomUniformLike", 7): RANDOM,
    ("DepthToSpace", 7): "a form of its own: every ONNX case has the newer attribute",
    ("GlobalLpPool", 7): "a form of its own: ONNX has no case",
    ("GroupNormalization", 18): "a form of its own: every ONNX case has one scale a channel",
    ("Resize", 10): "a form of its own: every ONNX case has newer inputs",
    ("Resize", 11): "a form of its own: every ONNX case has newer inputs",
}
"""Older versions that no ONNX case says anything about."""

AXES = {1: "axes"}
INPUT_TO_ATTRIBUTE: dict[str, dict[int, str]] = {
    "Clip": {1: "min", 2: "max"},
    "Slice": {1: "starts", 2: "ends", 3: "axes"},
    "Pad": {1: "pads", 2: "value"},
    "Squeeze": AXES,
    "Unsqueeze": AXES,
    "Split": {1: "split"},
    "TopK": {1: "k"},
    "Dropout": {1: "ratio"},
    "Upsample": {1: "scales"},
}
"""Inputs that were attributes once; those of the reductions are axes."""


@functools.cache
def versions(operator: str) -> list[int]:
    """Opsets that cover every definition of ``operator`` but the newest, from the first on."""
    history = sorted(
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.name == operator and schema.domain == ""
    )
    spans = itertools.pairwise(history)
    return [max(first, FIRST_OPSET) for first, after in spans if after > FIRST_OPSET]


def in_version(case: Case, given: dict[str, Any], opset: int) -> ModelProto | None:
    """The case's one node in an older opset; None if it cannot be said there."""
    node = case.model.graph.node[0]
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    names = list(node.input)
    if len(names) > schema.max_input or set(attributes) - set(schema.attributes):
        moved = _moved(node, given, schema)
        if moved is None:
            return None
        attributes, names = attributes | moved, names[: schema.max_input]
    if set(attributes) - set(schema.attributes) or len(node.output) > schema.max_output:
        return None
    return _model(case, names, attributes, opset)


def _moved(
    node: NodeProto, given: dict[str, Any], schema: onnx.defs.OpSchema
) -> dict[str, Any] | None:
    """Inputs beyond the schema's as attributes; None if it has none for them."""
    places = INPUT_TO_ATTRIBUTE.get(node.op_type, AXES if "Reduce" in node.op_type else {})
    result: dict[str, Any] = {}
    for position, name in enumerate(node.input):
        if position < schema.max_input or not name:
            continue
        attribute = places.get(position)
        if attribute not in schema.attributes:
            return None
        plural = schema.attributes[attribute].type in {
            onnx.defs.OpSchema.AttrType.INTS,
            onnx.defs.OpSchema.AttrType.FLOATS,
        }
        numbers = given[name].reshape(-1).tolist()
        if numbers:
            result[attribute] = numbers if plural else numbers[0]
    return result


def _model(case: Case, names: list[str], attributes: dict[str, Any], opset: int) -> ModelProto:
    graph = case.model.graph
    node = helper.make_node(graph.node[0].op_type, names, list(graph.node[0].output), **attributes)
    inputs = [entry for entry in graph.input if entry.name in names]
    return helper.make_model(
        helper.make_graph([node], "older", inputs, list(graph.output)),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def disagreement(case: Case, opset: int) -> str | None:
    """How twin and runtime differ on a case in an older opset; None if it cannot be run there."""
    inputs, _ = case.data_sets[0]
    names = [entry.name for entry in case.model.graph.input]
    given = {name: as_array(value) for name, value in zip(names, inputs, strict=True)}
    model = in_version(case, given, opset)
    return None if model is None else disagreement_of(model, given)


def disagreement_of(model: ModelProto, given: dict[str, Any]) -> str | None:
    """How twin and runtime differ on a model; None if the runtime cannot run it."""
    feed = {entry.name: given[entry.name] for entry in model.graph.input}
    answers = runtime_answers(model, feed)
    if answers is None:
        return None
    twin = build_twin(model)
    result = twin(*(as_tensor(feed[name]) for name in twin.inputs), straight_through=False)
    outputs = result if isinstance(result, tuple) else (result,)
    pairs = zip(outputs, answers, strict=True)
    return "; ".join(filter(None, (mismatch(got, np.asarray(want), 1e-3) for got, want in pairs)))


def runtime_answers(model: ModelProto, feed: dict[str, Any]) -> list[Any] | None:
    """Outputs of ONNX Runtime; None if it has no kernel for the operator at these types."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session.run(None, feed)
    except (*RUNTIME_ERRORS, RuntimeError):  # RuntimeError: element types that numpy lacks
        return None
