"""Operators that multiply matrices give a row the same bits in every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from robcert.certify import api
from robcert.certify.masking.views import as_shipped
from robcert.certify.numerics import value_and_gradient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robcert.certify.model import Classifier

IMAGE = (3, 5, 7)
MICROSOFT = "com.microsoft"


def draws(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def scores(size: int) -> tuple[list[Any], dict[str, Any]]:
    """From tensor ``a``, of so many entries for each image."""
    nodes = [
        helper.make_node("Flatten", ["a"], ["flat"]),
        helper.make_node("MatMul", ["flat", "last"], ["y"]),
    ]
    return nodes, {"last": draws(size, 10)}


def sum_of(equation: str, factor: tuple[int, ...], size: int) -> tuple[list[Any], dict[str, Any]]:
    """Einsum of the image and a constant, or of the image and itself."""
    second = "k" if factor else "x"
    nodes, constants = scores(size)
    return (
        [helper.make_node("Einsum", ["x", second], ["a"], equation=equation), *nodes],
        {**constants, **({"k": draws(*factor)} if factor else {})},
    )


def fused(op: str, **attributes: Any) -> tuple[list[Any], dict[str, Any]]:
    if op == "FusedGemm":
        inputs, flat = ["f", "k", "c"], [helper.make_node("Flatten", ["x"], ["f"])]
        node = helper.make_node(op, inputs, ["y"], domain=MICROSOFT, **attributes)
        return [*flat, node], {"k": draws(105, 10), "c": draws(10)}
    nodes, constants = scores(75)
    node = helper.make_node(op, ["x", "x"], ["a"], domain=MICROSOFT, transB=1, **attributes)
    return [node, *nodes], constants


def resized(mode: str) -> tuple[list[Any], dict[str, Any]]:
    nodes, constants = scores(420)
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    return [helper.make_node("Resize", ["x", "", "s"], ["a"], mode=mode), *nodes], {
        **constants,
        **scales,
    }


def recurrent(op: str, gates: int, **attributes: Any) -> tuple[list[Any], dict[str, Any]]:
    """One layer over the rows of the first channel."""
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["channel"], axis=1),
        helper.make_node("Transpose", ["channel"], ["steps"], perm=[1, 0, 2]),
        helper.make_node(op, ["steps", "w", "r"], ["", "h"], hidden_size=10, **attributes),
        helper.make_node("Squeeze", ["h", "axis"], ["y"]),
    ]
    constants = {"first": np.array(0), "axis": np.array([0])}
    return nodes, {**constants, "w": draws(1, gates * 10, 7), "r": draws(1, gates * 10, 10)}


CASES = {
    "einsum of rows": sum_of("bchw,wk->bchk", (7, 3), 45),
    "einsum of the batch": sum_of("bchw,bdhw->bcd", (), 9),
    "einsum, constant first": sum_of("bchw,ck->bkhw", (3, 4), 140),
    "einsum to scores": sum_of("bchw,chwk->bk", (3, 5, 7, 10), 10),
    "FusedMatMul": fused("FusedMatMul", alpha=0.3),
    "FusedGemm": fused("FusedGemm", activation="Relu"),
    "Resize, linear": resized("linear"),
    "Resize, cubic": resized("cubic"),
    "LSTM": recurrent("LSTM", 4),
    "GRU": recurrent("GRU", 3),
    "GRU, reset after": recurrent("GRU", 3, linear_before_reset=1),
    "RNN": recurrent("RNN", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_a_row_has_the_same_bits_in_every_batch(case: str, tmp_path: Path) -> None:
    nodes, constants = CASES[case]
    model = load(tmp_path, nodes, constants)
    check(lambda z: model.twin_logits(z).logsumexp(1))


def test_a_row_of_the_declared_output_has_the_same_bits_in_every_batch(tmp_path: Path) -> None:
    """Probabilities behind two layers: the logits are a tensor inside the graph."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["bent"]),
        helper.make_node("MatMul", ["bent", "last"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=1),
    ]
    model = load(tmp_path, nodes, {"first": draws(105, 33), "last": draws(33, 10) * 0.1})
    shipped = as_shipped(model)
    assert shipped is not model
    check(lambda z: shipped.twin_logits(z)[:, 3])


def load(folder: Path, nodes: list[Any], constants: dict[str, Any]) -> Classifier:
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    floats = TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", floats, ["b", *IMAGE])
    y = helper.make_tensor_value_info("y", floats, ["b", 10])
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    versions = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=9), folder / "m.onnx")
    return api.load_model(folder / "m.onnx", threads=1)


def check(value: Callable[[torch.Tensor], torch.Tensor]) -> None:
    images = torch.rand(24, *IMAGE, generator=torch.Generator().manual_seed(0))
    whole, slope = value_and_gradient(value, images)
    assert slope.abs().max() > 0
    for order in ([7], [7, 1, 4], list(range(8, 24)), list(range(24))[::-1]):
        some, its_slope = value_and_gradient(value, images[order])
        assert torch.equal(some, whole[order])
        assert torch.equal(its_slope, slope[order])
