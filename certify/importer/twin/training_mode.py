"""Nodes of a graph that an export left in training mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from ..graph.model_file import all_graphs
from .values import trains

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def normalised_by_batch(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the BatchNormalization nodes that use the statistics of the batch."""
    return tuple(
        node.name or node.output[0] for node in _nodes(model, "BatchNormalization") if trains(node)
    )


def without_dropout(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy of ``model`` whose Dropout nodes pass their input on: the training flag is gone."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in _nodes(copy, "Dropout"):
        del node.input[2:]
    return copy


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _nodes(model: onnx.ModelProto, operator: str) -> Iterator[onnx.NodeProto]:
    """Nodes of one of ONNX's own operators, those inside branches too."""
    for graph in all_graphs(model):
        for node in graph.node:
            if node.op_type == operator and node.domain in {"", "ai.onnx"}:
                yield node
