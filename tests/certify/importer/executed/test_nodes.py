"""The runtime's numbers at each node of a file against the twin's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import pytest
from onnx import TensorProto

from robcert.certify.importer import load_tensor_function
from robcert.certify.importer.executed.comparison import ImageInput
from robcert.certify.importer.executed.matching import values_of
from robcert.certify.importer.executed.nodes import node_difference
from robcert.certify.importer.executed.sides import Side
from robcert.certify.importer.operators.operator_table import OPERATORS
from robcert.certify.importer.twin.twin import build_twin

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto, NodeProto
    from torch import Tensor

SHAPE = (1, 6, 4, 4)
IMAGE = ImageInput("x", SHAPE, "float32")
FUNCTIONS = ("Elu", "Selu", "Celu", "Mish", "HardSwish", "Softplus", "Erf", "Atan", "Floor", "Sign")


def made(given: list[NodeProto], **types: int) -> ModelProto:
    return om.model(
        [*given, om.node("Flatten", "last", "y")],
        inputs={"x": SHAPE},
        outputs={"y": None},
        weights={"w": np.random.default_rng(0).normal(size=(4, 6, 3, 3)).astype(np.float32)},
        types=types,
        opset=18,
    )


@pytest.mark.parametrize("operator", FUNCTIONS)
def test_functions_are_the_same_to_their_stated_error(operator: str) -> None:
    assert not node_difference(made([om.node(operator, "x", "last")]), IMAGE)


def test_an_integer_input_is_drawn_from_its_levels() -> None:
    given = [
        om.node("Cast", "x", "f", to=TensorProto.FLOAT),
        om.node("Conv", "f w", "last", pads=[1, 1, 1, 1]),
    ]
    assert not node_difference(made(given, x=TensorProto.UINT8), ImageInput("x", SHAPE, "uint8"))


def test_sums_that_the_runtime_updates_are_found_behind_small_numbers() -> None:
    """On pixels the twin has the runtime's scores; large squares leave errors in later sums."""
    given = [om.node("LRN", "x", "last", size=3, alpha=0.5, beta=0.75, bias=1.0)]
    assert "node 'last_node' (LRN)" in node_difference(made(given), IMAGE)


def test_an_epsilon_that_the_twin_alone_has_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It matters to small numbers only."""
    given = [om.node("MeanVarianceNormalization", "x", "last", axes=[2, 3])]
    assert not node_difference(made(given), IMAGE)
    (row,) = OPERATORS["", "MeanVarianceNormalization"]

    def other(x: Tensor, *, axes: tuple[int, ...]) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)

    monkeypatch.setitem(
        OPERATORS, ("", "MeanVarianceNormalization"), [replace(row, function=other)]
    )
    assert "(MeanVarianceNormalization)" in node_difference(made(given), IMAGE)


def test_numbers_in_float64_are_compared_too() -> None:
    wide = [
        om.node("Cast", "x", "d", to=TensorProto.DOUBLE),
        om.node("Relu", "d", "r"),
        om.node("Cast", "r", "last", to=TensorProto.FLOAT),
    ]
    assert not node_difference(made(wide), IMAGE)
    sides = Side.of(made(wide), "x")
    found = values_of(sides, [np.zeros(SHAPE, np.float32)])
    assert {name: value.dtype for name, (value,) in found.items()} == {
        "d": np.float64,
        "r": np.float64,
        "last": np.float32,
        "y": np.float32,
    }


def test_a_twin_of_another_function_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    file = made([om.node("Neg", "x", "n"), om.node("Relu", "n", "last")])
    other = made([om.node("Neg", "x", "n"), om.node("Abs", "n", "last")])
    build = build_twin

    def swapped(model: ModelProto) -> object:
        for node, new in zip(model.graph.node, other.graph.node, strict=True):
            node.op_type = new.op_type
        return build(model)

    monkeypatch.setattr("robcert.certify.importer.executed.nodes.build_twin", swapped)
    assert "node 'last_node' (Relu)" in node_difference(file, IMAGE)


def test_a_graph_that_the_runtime_refuses_is_told() -> None:
    given = [om.node("Relu", "missing", "last")]
    assert "cannot be computed one by one" in node_difference(made(given), IMAGE)


def test_the_whole_file_is_asked_for(tmp_path: Path) -> None:
    given = [om.node("LRN", "x", "last", size=3, alpha=0.5, beta=0.75, bias=1.0)]
    function = load_tensor_function(om.saved(tmp_path, made(given)))
    assert function.rewritten is not None
    assert "(LRN)" in function.rewritten()
