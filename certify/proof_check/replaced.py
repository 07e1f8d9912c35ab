"""Groups of operators that ONNX Runtime replaces by one that computes another function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .maps import Choice, Factors, Matrix, Sum
from .network import Kind

if TYPE_CHECKING:
    from .network import Node, Symbol
    from .rules import Operator


def require_no_lost_zeros(of: Operator, x: Symbol) -> None:
    """Raise where zeros of a padding may be larger than what they surround.

    The runtime merges the padding into that of the pooling and so leaves them out.

    Args:
        of: a max pooling.
        x: what it reads.
    """
    nodes, zeros = of.builder.nodes, False
    node = nodes[x.at]
    while _moves(node) or _changes_nothing(node):
        if isinstance(node.map, Choice) and node.offset is not None:
            zeros = zeros or bool((node.offset[node.map.index < 0] == 0).any())
        node = nodes[node.parents[0]]
    if zeros and node.kind is not Kind.RELU:
        message = "it reads zeros of a padding, which runtimes leave out of a maximum"
        raise of.builder.refuse(message)


def require_columns(of: Operator, x: Symbol) -> None:
    """Raise where channels are as many as the columns of a matrix before them, but others.

    The runtime merges the normalisation into the matrix, past what moves elements.

    Args:
        of: a batch normalisation.
        x: what it reads.
    """
    nodes = of.builder.nodes
    node, place = nodes[x.at], np.arange(x.size)
    while (_moves(node) and node.offset is None) or _changes_nothing(node):
        if isinstance(node.map, Choice):
            place = node.map.index[place]
        node = nodes[node.parents[0]]
    if not isinstance(node.map, Matrix) or node.map.weight.shape[1] != x.shape[1]:
        return
    columns = np.moveaxis((place % x.shape[1]).reshape(x.shape), 1, -1)
    if bool((columns != np.arange(x.shape[1])).any()):
        message = "it normalises other channels than the columns that runtimes take them for"
        raise of.builder.refuse(message)


def _moves(node: Node) -> bool:
    """Whether a node has elements of one argument, or constants."""
    return isinstance(node.map, Choice) and len(node.parents) == 1


def _changes_nothing(node: Node) -> bool:
    """Whether a node is its argument plus 0 or times 1, which runtimes remove."""
    if node.offset is not None and bool(node.offset.any()):
        return False
    if isinstance(node.map, Factors):
        return bool((node.map.factor == 1).all())
    return isinstance(node.map, Sum) and node.map.signs == (1,)
