"""Facts about an ONNX graph that decisions rest on, found once.

This module is imported by the child process that tries an untrusted file: it must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from .graph import opset_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DRAWING = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("Bernoulli", "Multinomial"),
    }
)
"""Operators whose output is random. Dropout is not among them: runtimes ignore it."""

DISCONTINUOUS = frozenset(
    {
        *("QuantizeLinear", "DynamicQuantizeLinear", "Round", "Floor", "Ceil", "Sign", "TopK"),
        *("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal", "ArgMax", "BitShift"),
    }
)
"""Operators that can turn a rounding error of 1e-7 into a whole step."""

LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
"""Operators that run a graph of their own several times."""

STEPWISE = LOOPS | {"LSTM", "GRU", "RNN"}
"""Operators that a runtime repeats in compiled code and a twin step by step."""


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What the importer must know about a graph.

    Attributes:
        opset: version of ONNX's own operator set; 0 where the file does not state it.
        inputs: inputs that must be fed, in the file's order (IR version 3 lists initialisers among
            the inputs, too; these are left out).
        half_precision: whether a stored tensor is float16.
        draws: whether a node's output is random. The scores of a few images need not differ for
            that: a class drawn with probability 0.99 usually repeats.
        discontinuous: whether tiny differences inside the graph can become large ones.
        stepwise: whether a twin takes steps that a runtime need not take.
        normalised_by_batch: names of the BatchNormalization nodes left in training mode, which use
            the statistics of the batch.
    """

    opset: int
    inputs: tuple[onnx.ValueInfoProto, ...]
    half_precision: bool
    draws: bool
    discontinuous: bool
    stepwise: bool
    normalised_by_batch: tuple[str, ...]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> GraphFacts:
        """Facts about ``model``."""
        initialisers = {tensor.name for tensor in model.graph.initializer}
        nodes = [node for graph in all_graphs(model) for node in graph.node]
        return cls(
            opset=opset_versions(model).get("", 0),
            inputs=tuple(i for i in model.graph.input if i.name not in initialisers),
            half_precision=any(t.data_type == TensorProto.FLOAT16 for t in all_tensors(model)),
            draws=any(node.op_type in DRAWING for node in nodes),
            discontinuous=any(_is_step(node) for node in model.graph.node),
            stepwise=any(node.op_type in STEPWISE for node in nodes),
            normalised_by_batch=tuple(
                node.name or node.output[0]
                for node in nodes
                if is_standard(node, "BatchNormalization") and trains(node)
            ),
        )

    @property
    def declared_batch(self) -> int | None:
        """Fixed length of the first axis, of the first input that has one; None if all are free."""
        for entry in self.inputs:
            first = (dimensions(entry) or [""])[0]
            if isinstance(first, int):
                return first
        return None


def all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The graph, the bodies of its functions, and every subgraph inside them."""
    return inner_graphs([model.graph, *model.functions])


def inner_graphs(
    graphs: Iterable[onnx.GraphProto | onnx.FunctionProto],
) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """``graphs`` and every subgraph inside them."""
    waiting = list(graphs)
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in _attributes(graph):
            if attribute.HasField("g"):
                waiting.append(attribute.g)
            waiting.extend(attribute.graphs)


def _attributes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.AttributeProto]:
    """Attributes of the nodes, and those that a function gives where its caller gives none."""
    if isinstance(graph, onnx.FunctionProto):
        yield from graph.attribute_proto
    for node in graph.node:
        yield from node.attribute


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in the model: initialisers and values of attributes, sparse ones too."""
    for graph in all_graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            yield from _parts(graph.sparse_initializer)
        for attribute in _attributes(graph):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from _parts([attribute.sparse_tensor])
            yield from _parts(attribute.sparse_tensors)


def _parts(sparse: Iterable[onnx.SparseTensorProto]) -> Iterator[onnx.TensorProto]:
    """Values and indices of each sparse tensor."""
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices


def dimensions(entry: onnx.ValueInfoProto) -> list[int | str]:
    """Declared shape: numbers where fixed, names (perhaps empty) where free."""
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param
        for d in entry.type.tensor_type.shape.dim
    ]


def is_standard(node: onnx.NodeProto, operator: str) -> bool:
    """Whether ``node`` is this operator of the ONNX standard."""
    return node.op_type == operator and node.domain in {"", "ai.onnx"}


def trains(node: onnx.NodeProto) -> bool:
    """Whether a BatchNormalization is in training mode, by its attribute or its further outputs.

    These outputs exist in training mode only; before version 14 they are the only sign of it.
    """
    told = any(a.name == "training_mode" and a.i for a in node.attribute)
    return told or any(node.output[1:])


def _is_step(node: onnx.NodeProto) -> bool:
    return node.op_type in DISCONTINUOUS or node.op_type.startswith("QLinear")
