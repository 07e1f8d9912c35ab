"""Nodes of a graph that draw at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model_file import all_graphs

if TYPE_CHECKING:
    import onnx


DRAWING = {
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Bernoulli", "Multinomial"),
}
"""Operators whose output is drawn; Dropout is none, for runtimes leave it out."""


def draws(model: onnx.ModelProto) -> bool:
    """Whether a node of ``model`` draws.

    Its answers need not differ on a few images: a class drawn with probability 0.99 repeats.
    """
    return any(node.op_type in DRAWING for graph in all_graphs(model) for node in graph.node)
