"""Operators of an executed graph that the error bounds of float32 evaluations cover.

ONNX Runtime replaces groups of nodes by operators of its own. Those listed here compute in float32
what the nodes compute, with the same functions and sums. Others round to fewer bits (MatMulNBits,
DynamicQuantizeMatMul), or nothing is known of them.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..graph.graph import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

LAYOUT = "com.microsoft.nchwc"
"""Domain of the operators on images whose channels are stored in blocks."""

FUSED = frozenset(
    {
        *("FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "TransposeMatMul"),
        *("Gelu", "BiasGelu", "FastGelu", "QuickGelu", "BiasSoftmax"),
        *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
        *("Attention", "MultiHeadAttention"),
    }
)
"""Operators of the domain com.microsoft."""

INTEGERS = frozenset(
    {
        *("ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
        *("QLinearConv", "QLinearMatMul", "QuantizeLinear"),
    }
)
"""Operators of ONNX that are not covered where the file has none of them."""


def uncovered(file: onnx.ModelProto, executed: onnx.ModelProto) -> str:
    """The first node of ``executed`` that no error bound covers, in words; empty if none.

    Args:
        file: the graph as it was given to the runtime.
        executed: the graph that the runtime makes of it.
    """
    stated = {(node.domain, node.proto.op_type) for node in _nodes(file)}
    for node in _nodes(executed):
        operator = node.proto.op_type
        known = (node.domain, operator) in stated or node.domain == LAYOUT
        known |= node.domain == "" and operator not in INTEGERS
        known |= node.domain == "com.microsoft" and operator in FUSED
        if not known:
            return (
                f"the runtime executes {operator} for {node.label!r}, which no error bound covers"
            )
    return ""


def _nodes(model: onnx.ModelProto) -> Iterator[Node]:
    """Nodes of a model, those of its branches and loops included."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        for position, proto in enumerate(graph.node):
            yield Node(proto, position)
            waiting.extend(attribute.g for attribute in proto.attribute if attribute.HasField("g"))
