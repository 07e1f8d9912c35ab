"""Stages inside a graph: tensors with a usable slope, the last ones first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx_models import model, node
from torch import nn

from robcert.certify.importer.twin.stages import find_stages
from robcert.certify.importer.twin.twin import TwinModule, build_twin

if TYPE_CHECKING:
    from onnx import NodeProto


def graph(*last: NodeProto) -> TwinModule:
    """Six numbers, their squares to four, then the nodes ``last`` from ``four`` to ``y``."""
    nodes = [
        node("MatMul", "x to_six", "six"),
        node("Mul", "six six", "squares"),
        node("MatMul", "squares to_four", "four"),
    ]
    rng = np.random.default_rng(0)
    weights = {
        "to_six": rng.normal(size=(3, 6)).astype(np.float32),
        "to_four": rng.normal(size=(6, 4)).astype(np.float32),
    }
    weights |= {"depth": np.array(4), "values": np.array([0, 1], np.float32)}
    made = model([*nodes, *last], inputs={"x": ["b", 3]}, outputs={"y": ["b", 4]}, weights=weights)
    return build_twin(made)


def test_each_size_counts_once_and_flat_tensors_are_none() -> None:
    top = node("ArgMax", "four", "top", axis=1, keepdims=0)
    twin, x = graph(top, node("OneHot", "top depth values", "y")), torch.rand(2, 3)
    parts = find_stages(twin, x, least=2)
    assert [part(x).shape[1] for part in parts] == [4, 6]
    four, six = (part(x) for part in parts)
    squares = (x @ torch.from_numpy(np.random.default_rng(0).normal(size=(3, 6))).float()).square()
    torch.testing.assert_close(six, squares)
    assert torch.equal(nn.functional.one_hot(four.argmax(1), 4).float(), twin(x))
    assert four.unique().numel() == 8  # no labels
    assert [part(x).shape[1] for part in find_stages(twin, x, least=5)] == [6]


def test_a_tensor_that_mixes_images_is_no_stage() -> None:
    turns = node("Transpose", "four", "turned"), node("Transpose", "turned", "y")
    twin, x = graph(*turns), torch.rand(2, 3)
    for part in find_stages(twin, x, least=2):
        assert part(x).shape[0] == 2
        torch.testing.assert_close(part(x)[1:], part(x[1:]))
