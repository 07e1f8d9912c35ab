"""An ONNX graph made simple: inlined, in order, only what the chosen outputs need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, inliner

from robcert.certify.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_ELEMENTS = 2**28
"""Largest tensor that a graph may make from constants: 1 GiB of float32."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node and its position in the file."""

    proto: NodeProto
    position: int

    @property
    def domain(self) -> str:
        """Domain of the operator; ``ai.onnx`` is the empty string."""
        return "" if self.proto.domain == "ai.onnx" else self.proto.domain

    @property
    def label(self) -> str:
        """Name of the node, or of its first output if it has none."""
        return self.proto.name or next(iter(self.proto.output), "")


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph ready to be translated.

    Attributes:
        inputs: names of the inputs that the outputs depend on, in the file's order.
        input_types: their ONNX element types.
        outputs: names of the tensors to compute.
        nodes: in an order in which every node follows those that it reads from.
        constants: initialisers by name.
        n_nodes: nodes of the whole graph, for messages.
        overridable: initialisers that are inputs as well.
    """

    inputs: tuple[str, ...]
    input_types: tuple[int, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, TensorProto]
    n_nodes: int
    overridable: frozenset[str] = frozenset()


def opset_versions(model: ModelProto) -> dict[str, int]:
    """Version of each operator domain; ``ai.onnx`` is the empty string."""
    return {
        "" if entry.domain == "ai.onnx" else entry.domain: entry.version
        for entry in model.opset_import
    }


def inline_functions(model: ModelProto) -> ModelProto:
    """The model with calls of its own functions replaced by their bodies."""
    return inliner.inline_local_functions(model) if model.functions else model


def simplified(graph: GraphProto, outputs: Sequence[str] | None = None) -> Graph:
    """The part of ``graph`` that ``outputs`` (default: all its own) depend on, in order.

    Raises:
        ModelFileError: a tensor is made twice or never, or the graph has a cycle.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    _refuse_sparse(graph)
    nodes = [Node(proto, position) for position, proto in enumerate(graph.node)]
    producer = _producers(nodes)
    wanted = tuple(entry.name for entry in graph.output) if outputs is None else tuple(outputs)
    kept = _needed(wanted, producer)
    ordered = tuple(_in_order([node for node in nodes if id(node) in kept], producer))
    # Initialisers may be listed among the inputs (IR version 3); they are never overridden.
    used = {name for node in ordered for name in reads(node.proto)} | set(wanted)
    inputs = [entry for entry in graph.input if entry.name in used and entry.name not in constants]
    return Graph(
        inputs=tuple(entry.name for entry in inputs),
        input_types=tuple(entry.type.tensor_type.elem_type for entry in inputs),
        outputs=wanted,
        nodes=ordered,
        constants=constants,
        n_nodes=len(nodes),
        overridable=frozenset(entry.name for entry in graph.input) & constants.keys(),
    )


def reads(proto: NodeProto) -> Iterator[str]:
    """Names that a node reads, those that its subgraphs take from outside included."""
    yield from (name for name in proto.input if name)
    for attribute in proto.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield from captured(attribute.g)


def captured(graph: GraphProto) -> list[str]:
    """Names that a subgraph reads from the graphs around it, each once, in order."""
    own = {entry.name for entry in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for proto in graph.node for name in proto.output}
    used = [name for proto in graph.node for name in reads(proto)]
    used += [entry.name for entry in graph.output]
    return [name for name in dict.fromkeys(used) if name not in own]


def _refuse_sparse(graph: GraphProto) -> None:
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        message = f"sparse initialisers are not supported (first: {name!r})"
        raise ModelFileError(message)


def _producers(nodes: Sequence[Node]) -> dict[str, Node]:
    producer: dict[str, Node] = {}
    for node in nodes:
        for name in node.proto.output:
            if name and producer.setdefault(name, node) is not node:
                message = f"tensor {name!r} is made by two nodes, the second at {node.position}"
                raise ModelFileError(message)
    return producer


def _needed(wanted: Sequence[str], producer: dict[str, Node]) -> set[int]:
    """Identities of the nodes that ``wanted`` depends on."""
    kept: set[int] = set()
    pending = list(wanted)
    while pending:
        node = producer.get(pending.pop())
        if node is not None and id(node) not in kept:
            kept.add(id(node))
            pending.extend(reads(node.proto))
    return kept


def _in_order(nodes: Sequence[Node], producer: dict[str, Node]) -> Iterator[Node]:
    """Topological order that keeps the file's order where it can."""
    done: set[int] = set()
    open_: set[int] = set()
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            if id(node) in done:
                stack.pop()
                continue
            before = [producer[name] for name in reads(node.proto) if name in producer]
            missing = [other for other in before if id(other) not in done]
            if not missing:
                done.add(id(node))
                yield stack.pop()
                continue
            if id(node) in open_:
                message = f"the graph has a cycle through node {node.label!r}"
                raise ModelFileError(message)
            open_.add(id(node))
            stack.extend(reversed(missing))


def element_type_name(number: int) -> str:
    """Name of an ONNX element type, such as FLOAT."""
    return str(onnx.TensorProto.DataType.Name(number)) if number else "unknown"
