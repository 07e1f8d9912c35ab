"""Edits of a copy of the graph: other outputs, a free batch axis, quantised scores made numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from robcert.certify.errors import ModelFileError

from .graph import inline_functions, reads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


BATCH = "batch"
"""Name of the freed axis."""


def restricted(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Copy of ``model`` that computes ``outputs`` (any tensors of it) and nothing else.

    Inputs that no output depends on are removed; so are the declared shapes of inner tensors
    and outputs, which are often wrong and never needed.

    Raises:
        ModelFileError: no tensor has that name.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(inline_functions(model))
    graph = copy.graph
    made_by = {name: node for node in graph.node for name in node.output if name}
    known = made_by.keys() | {i.name for i in graph.input} | {t.name for t in graph.initializer}
    for name in outputs:
        if name not in known:
            message = f"the model has no tensor called {name!r}"
            hint = f"its outputs are {', '.join(o.name for o in graph.output)}"
            raise ModelFileError(message, hint=hint)
    kept, used = _needed(outputs, made_by)
    nodes = [node for node in graph.node if id(node) in kept]
    inputs = [entry for entry in graph.input if entry.name in used]
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    _replace(graph.node, nodes)
    _replace(graph.input, inputs)
    _replace(graph.initializer, initializers)
    _replace(graph.output, [onnx.ValueInfoProto(name=name) for name in outputs])
    del graph.value_info[:]
    return copy


def with_free_batch(model: onnx.ModelProto, input_name: str) -> onnx.ModelProto:
    """Copy of ``model`` whose input has a free first axis.

    Constant target shapes of Reshape nodes on the way from the input lose the fixed batch too, and
    constants that a Concat node joins to an image (class tokens) are repeated for every image.
    Whether the copy still computes the same must be tried: a 1 may have meant something else.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    entry = next(i for i in copy.graph.input if i.name == input_name)
    fixed = 1  # a free axis does not exclude a 1 further on
    for axis in entry.type.tensor_type.shape.dim[:1]:
        fixed = axis.dim_value or 1
        axis.dim_param = BATCH
    variable = _depends_on(copy.graph, input_name)
    constants = _constants(copy.graph)
    for position, node in enumerate(copy.graph.node):
        if node.op_type == "Reshape" and len(node.input) == 2 and node.input[0] in variable:
            shape = constants.get(node.input[1])
            if shape is not None and shape.size and shape[0] == fixed:
                _free_reshape(copy.graph, position, shape)
    _repeat_joined_constants(copy.graph, input_name, variable, fixed)
    return copy


def dequantised(model: onnx.ModelProto, name: str) -> str:
    """Name of a float tensor with the numbers that the quantised tensor ``name`` stands for.

    A DequantizeLinear (or, where no scale is known, a Cast) is added to ``model`` itself.
    """
    node = next((n for n in model.graph.node if name in n.output), None)
    result = f"{name}/robcert_dequantised"
    position = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6}.get(
        node.op_type if node else "", 0
    )
    if node is not None and position and len(node.input) > position:
        scale = [part for part in node.input[position : position + 2] if part]
        added = helper.make_node("DequantizeLinear", [name, *scale], [result])
    else:
        added = helper.make_node("Cast", [name], [result], to=onnx.TensorProto.FLOAT)
    model.graph.node.append(added)
    return result


def unrounded(model: onnx.ModelProto, name: str) -> str:
    """Name of ``name`` in float32, by a Cast that is added to ``model`` itself.

    On processors without float16 arithmetic the runtime computes in float32 and rounds what is an
    output: logits that the file itself never rounds would tie.
    """
    result = f"{name}/robcert_unrounded"
    model.graph.node.append(helper.make_node("Cast", [name], [result], to=onnx.TensorProto.FLOAT))
    return result


def _needed(
    outputs: Iterable[str], made_by: dict[str, onnx.NodeProto]
) -> tuple[set[int], set[str]]:
    """Identities of the nodes, and names of all tensors, that ``outputs`` depend on."""
    kept: set[int] = set()
    used: set[str] = set()
    pending = list(outputs)
    while pending:
        name = pending.pop()
        if name in used:
            continue
        used.add(name)
        node = made_by.get(name)
        if node is not None:
            kept.add(id(node))
            pending.extend(reads(node))
    return kept, used


def _depends_on(graph: onnx.GraphProto, source: str) -> set[str]:
    """Names of the tensors that depend on ``source``; nodes may be in any order."""
    reached = {source}
    grew = True
    while grew:
        before = len(reached)
        for node in graph.node:
            # The shape of a tensor is no value of it: Shape nodes give shapes, not images.
            if node.op_type != "Shape" and not reached.isdisjoint(reads(node)):
                reached.update(name for name in node.output if name)
        grew = len(reached) > before
    return reached


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Values of small integer constants by name, initialisers and Constant nodes alike."""
    tensors = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    return {
        name: numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) == 1
    }


def _free_reshape(graph: onnx.GraphProto, position: int, shape: np.ndarray) -> None:
    """Give a Reshape node a target shape without the fixed batch: -1, or 0 (copy) beside a -1."""
    node = graph.node[position]
    keeps_zero = any(a.name == "allowzero" and a.i for a in node.attribute)
    if -1 in shape and keeps_zero:
        return
    target = shape.copy()
    target[0] = 0 if -1 in shape else -1
    name = f"robcert_free_shape_{position}"
    graph.initializer.append(numpy_helper.from_array(target, name))
    node.input[1] = name


def _repeat_joined_constants(
    graph: onnx.GraphProto, input_name: str, variable: set[str], fixed: int
) -> None:
    """Expand initialisers that are joined to images along an inner axis to the input's batch."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    batch = "robcert_batch"
    added: list[onnx.NodeProto] = []
    for position, node in enumerate(graph.node):
        if node.op_type != "Concat" or variable.isdisjoint(node.input):
            continue
        for place, name in enumerate(node.input):
            tensor = stored.get(name)
            if tensor is None or len(tensor.dims) < 2 or tensor.dims[0] != fixed:
                continue
            rest = f"robcert_rest_{position}_{place}"
            values = np.array(tensor.dims[1:], np.int64)
            graph.initializer.append(numpy_helper.from_array(values, rest))
            target, repeated = f"{rest}_shape", f"{rest}_repeated"
            added.append(helper.make_node("Concat", [batch, rest], [target], axis=0))
            added.append(helper.make_node("Expand", [name, target], [repeated]))
            node.input[place] = repeated
    if added:
        zero = numpy_helper.from_array(np.array([0], np.int64), f"{batch}_axis")
        graph.initializer.append(zero)
        shape = f"{batch}_shape"
        graph.node.append(helper.make_node("Shape", [input_name], [shape]))
        graph.node.append(helper.make_node("Gather", [shape, zero.name], [batch]))
        graph.node.extend(added)


def _replace(field: object, entries: Sequence[object]) -> None:
    """Make ``entries`` the content of a repeated protobuf field."""
    kept = [type(entry)() for entry in entries]
    for new, old in zip(kept, entries, strict=True):
        new.CopyFrom(old)  # type: ignore[attr-defined]
    del field[:]  # type: ignore[attr-defined]
    field.extend(kept)  # type: ignore[attr-defined]
