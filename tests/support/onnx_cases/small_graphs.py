"""Builders of small graphs with one input x."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper


def graph_of(
    nodes: list[NodeProto], outputs: list[str], constants: dict[str, Any], shape: list[Any]
) -> GraphProto:
    return helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )


def model_of(
    nodes: list[NodeProto],
    *,
    outputs: list[str] | None = None,
    constants: dict[str, Any] | None = None,
    shape: list[Any] | None = None,
    opset: int = 17,
) -> ModelProto:
    graph = graph_of(nodes, outputs or ["y"], constants or {}, shape or ["n", 3])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("made.up", 1)]
    return helper.make_model(graph, opset_imports=opsets)


node = helper.make_node
X = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]])
TWO = np.array([2.0, 2.0, 2.0], dtype=np.float32)
