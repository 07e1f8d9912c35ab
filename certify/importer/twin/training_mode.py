"""Nodes of a graph that an export left in training mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from ..graph.facts import all_graphs, is_standard

if TYPE_CHECKING:
    from collections.abc import Sequence


def without_dropout(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy of ``model`` whose Dropout nodes pass their input on: the training flag is removed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in all_graphs(copy):
        for node in graph.node:
            if is_standard(node, "Dropout"):
                del node.input[2:]
    return copy


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
