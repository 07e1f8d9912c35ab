"""A graph cut at some of its tensors, each of which becomes an input and an output.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..graph.graph import reads, simplified

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnxruntime
    from numpy.typing import NDArray

    from ..graph.graph import Graph, Node

    Values = dict[str, NDArray[np.generic]]

SHAPES = frozenset({"Shape", "Size"})
"""Operators that do not read the numbers of their argument."""

LARGEST = 1e30
"""Larger constants stand for no limit."""

MOST_REPEATED = 4096
"""Elements of a tensor that may repeat one number."""

OUTPUT = "/robcert_computed"
"""Follows the name of a cut tensor where it is computed, in contrast to where it is read."""

FLOATS = frozenset({"float32", "float64"})
"""Types of the tensors at which graphs are cut."""


class TensorType(NamedTuple):
    """What is declared of a tensor."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @classmethod
    def of(cls, x: NDArray[np.generic]) -> TensorType:
        """The type of ``x``."""
        return cls(x.shape, x.dtype.name)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A graph with an image as its one input.

    Attributes:
        model: the graph.
        graph: its nodes in order.
        image: name of the input.
        producers: the node that makes each tensor.
    """

    model: onnx.ModelProto
    graph: Graph
    image: str
    producers: dict[str, Node]

    @classmethod
    def of(cls, model: onnx.ModelProto, image: str) -> Side:
        """The side of ``model``."""
        graph = simplified(model.graph)
        made = {name: node for node in graph.nodes for name in node.proto.output if name}
        return cls(model, graph, image, made)

    def constants(self) -> NDArray[np.float64]:
        """Stored numbers, and those of attributes, at which nodes may have kinks.

        Of tensors only those that hold one number throughout.
        """
        attributes = [each for node in self.graph.nodes for each in node.proto.attribute]
        stored = [*self.graph.constants.values(), *(a.t for a in attributes if a.HasField("t"))]
        small = [
            numpy_helper.to_array(tensor).astype(np.float64)
            for tensor in stored
            if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE)
            and 0 < math.prod(tensor.dims) <= MOST_REPEATED
        ]
        found = {x.flat[0].item() for x in small if bool((x == x.flat[0]).all())}
        found |= {each.f for each in attributes if each.type == onnx.AttributeProto.FLOAT}
        return np.array(sorted(value for value in found if 0 < abs(value) < LARGEST), np.float64)

    def leaves(self, cuts: Iterable[str]) -> dict[str, frozenset[str]]:
        """The cut tensors, and the image, from which each tensor is computed.

        Args:
            cuts: names of tensors; those from which they are computed do not count further on.
        """
        cut, reached, found = set(cuts), {self.image: frozenset([self.image])}, {}
        for node in self.graph.nodes:
            names = [] if node.proto.op_type in SHAPES else list(reads(node.proto))
            below = frozenset[str]().union(*(reached.get(name, frozenset()) for name in names))
            for name in node.proto.output:
                found[name] = below
                reached[name] = frozenset([name]) if name in cut else below
        return found

    def exposed(self, names: Sequence[str]) -> onnx.ModelProto:
        """The graph with ``names`` as its outputs."""
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        del result.graph.output[:]
        result.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        del result.graph.value_info[:]
        return result

    def cut(self, types: Mapping[str, TensorType]) -> onnx.ModelProto:
        """The graph that reads each tensor of ``types`` as an input, and computes it as an output.

        Args:
            types: of tensors that nodes make.
        """
        result = self.exposed([name + OUTPUT for name in types])
        for node in result.graph.node:
            for at, name in enumerate(node.output):
                if name in types:
                    node.output[at] = name + OUTPUT
        result.graph.input.extend(
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(kind.dtype)), kind.shape
            )
            for name, kind in types.items()
        )
        return result


def same_graph(model: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    """Whether two models have the same nodes, but for their names, and the same stored tensors."""
    return _parts(model.graph) == _parts(other.graph)


def _parts(graph: onnx.GraphProto) -> tuple[list[bytes], dict[str, bytes]]:
    nodes = []
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.ClearField("name")
        nodes.append(copy.SerializeToString(deterministic=True))
    return sorted(nodes), {t.name: t.SerializeToString() for t in graph.initializer}


def session_of(
    model: onnx.ModelProto,
) -> onnxruntime.InferenceSession:
    """A session that executes the graph as it stands, on one thread of the processor."""
    import onnxruntime  # see `open_session`

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def computed(session: onnxruntime.InferenceSession, feed: Values) -> Values:
    """All outputs of a session that are tensors, by name."""
    names = [entry.name for entry in session.get_outputs()]
    wanted = {entry.name for entry in session.get_inputs()}
    given = {name: value for name, value in feed.items() if name in wanted}
    found = zip(names, session.run(names, given), strict=True)
    return {name: value for name, value in found if isinstance(value, np.ndarray)}
