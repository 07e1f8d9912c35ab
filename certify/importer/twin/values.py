"""What the builder knows of tensors and nodes while it translates a graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from onnx import AttributeProto, TensorProto, helper
from torch import Tensor, fx

from robcert.certify.errors import ModelFileError
from robcert.certify.model import GraphNode, StraightThroughNode

from ..graph.elements import tensor_of
from ..graph.facts import trains
from ..operators.operator_table import Gradient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..graph.graph import Node
    from ..operators.operator_table import Operator

NATIVE_TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.bool: TensorProto.BOOL,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
    torch.int8: TensorProto.INT8,
    torch.uint8: TensorProto.UINT8,
}

SAME_TYPE = frozenset(
    {
        *("Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape"),
        *("Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)
"""Operators whose output has the element type of the first input."""

MOVES = SAME_TYPE - {"MaxPool"} | {"Split", "DepthToSpace", "SpaceToDepth", "Neg", "Abs"}
"""Operators that round nothing."""

TRAINING = {"BatchNormalization": "training_mode", "Dropout": "training"}
"""Operators that behave differently in training mode, and how that mode is recognised."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: known now, or a node of the twin.

    Attributes:
        content: the constant itself, or the node that computes it.
        on_host: whether it is computed from shapes only and stays on the CPU.
        element_type: ONNX's number of its element type; 0 where unknown.
        source: the node that computes a constant, in a twin that computes its constants.
    """

    content: Tensor | fx.Node
    on_host: bool = False
    element_type: int = 0
    source: fx.Node | None = None


@dataclass(slots=True)
class Findings:
    """Nodes of interest found while the graph is translated.

    Attributes:
        straight_through: nodes with a surrogate gradient.
        no_gradient: nodes that pass no gradient on.
        random: nodes whose output is random.
        training: nodes left in training mode.
        rounded: whether a constant was computed from others with a rounding.
        folded_elements: number of entries of tensors computed from constants so far.
        foldable_elements: the largest number allowed.
    """

    straight_through: list[StraightThroughNode] = field(default_factory=list)
    no_gradient: list[GraphNode] = field(default_factory=list)
    random: list[GraphNode] = field(default_factory=list)
    training: list[GraphNode] = field(default_factory=list)
    rounded: bool = False
    folded_elements: int = 0
    foldable_elements: int = 2**24

    def note(self, row: Operator, node: Node, inputs: Sequence[Value | None]) -> None:
        """Enter a node that depends on the input, or whose output is random."""
        operator = node.proto.op_type
        found = GraphNode(node.label, operator)
        if row.gradient in {Gradient.STRAIGHT_THROUGH, Gradient.NUMBER_FORMAT}:
            number_format = row.gradient is Gradient.NUMBER_FORMAT
            self.straight_through.append(StraightThroughNode(node.label, operator, number_format))
        elif row.gradient is Gradient.NONE:
            self.no_gradient.append(found)
        elif row.gradient is Gradient.RANDOM:
            self.random.append(found)
        if in_training(node, inputs):
            self.training.append(found)
            if operator == "Dropout":
                self.random.append(found)

    def folded(self, outputs: Sequence[Tensor]) -> None:
        """Count tensors computed from constants; raise if they unfold beyond measure."""
        self.folded_elements += sum(output.numel() for output in outputs)
        if self.folded_elements > self.foldable_elements:
            most = self.foldable_elements
            message = f"the constants of the graph unfold to more than {most} numbers"
            raise ModelFileError(message)


def in_training(node: Node, inputs: Sequence[Value | None]) -> bool:
    """Whether a node is, or may be, in training mode."""
    if node.domain or node.proto.op_type not in TRAINING:
        return False
    if node.proto.op_type == "Dropout":
        mode = inputs[2] if len(inputs) > 2 else None
        if mode is None:
            return False
        return not isinstance(mode.content, Tensor) or bool(mode.content)
    return trains(node.proto)


def describe(node: Node, opsets: Mapping[str, int]) -> str:
    """A node in words: operator, domain, opset, name and position."""
    domain = node.domain or "ai.onnx"
    version = opsets.get(node.domain, 1)
    return (
        f"{node.proto.op_type} (domain {domain}, opset {version}) at node {node.label!r}, "
        f"position {node.position}"
    )


def numbers(tensor: Tensor) -> Any:
    """A constant as one number or a flat tuple."""
    return tensor.item() if tensor.ndim == 0 else tuple(tensor.flatten().tolist())


def n_outputs(node: Node) -> int:
    """How many outputs a node names, up to the last that it does."""
    return max((i + 1 for i, name in enumerate(node.proto.output) if name), default=1)


def plain(attribute: AttributeProto) -> Any:
    """An attribute as a Python number, string or tuple, or as a tensor."""
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return tensor_of(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str | int | float):
        return value
    return tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in value)


def constant(node: Node) -> Value:
    """Value of a Constant node.

    Raises:
        ModelFileError: it holds no number.
    """
    kinds = {"value_float": torch.float32, "value_floats": torch.float32}
    kinds |= {"value_int": torch.int64, "value_ints": torch.int64}
    attribute = next(iter(node.proto.attribute), AttributeProto())
    if attribute.name == "value":
        return Value(tensor_of(attribute.t), element_type=attribute.t.data_type)
    if attribute.name not in kinds:
        message = f"Constant {node.label!r} has no number in its attribute {attribute.name!r}"
        raise ModelFileError(message)
    content = torch.tensor(plain(attribute), dtype=kinds[attribute.name])
    return Value(content, element_type=NATIVE_TYPES[content.dtype])


def rounds(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Tensor]) -> bool:
    """Whether a node computes numbers from numbers, all of them constants, with a rounding."""
    given = [value.content for value in inputs if value is not None]
    reads = any(isinstance(tensor, Tensor) and tensor.is_floating_point() for tensor in given)
    gives = any(output.is_floating_point() for output in outputs)
    return reads and gives and node.proto.op_type not in MOVES


def output_type(node: Node, inputs: Sequence[Value | None], output: Tensor | None = None) -> int:
    """ONNX element type of a node's first output; 0 where it is not known."""
    if node.proto.op_type == "Cast":
        return next((a.i for a in node.proto.attribute if a.name == "to"), 0)
    if node.proto.op_type in SAME_TYPE and inputs and inputs[0] is not None:
        return inputs[0].element_type
    return NATIVE_TYPES.get(output.dtype, 0) if output is not None else 0
