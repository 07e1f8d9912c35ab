"""Graphs whose scores the checker of proofs would take for others than the runtime's."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_models as om
import pytest
from checked_nets import preprocessing
from onnx import numpy_helper

from robcert.certify.proof_check import read_network
from robcert.certify.proof_check.errors import ProofCheckError

SHAPE = (1, 2, 2)
MATRIX = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
GIVEN = {
    "square": np.array([2, 2]),
    "wide": np.array([1, 1, 2, 2]),
    "row": np.array([1, 8]),
    "none": np.zeros(0, np.int64),
    "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
    "w": MATRIX,
    "one": np.array(1, np.float32),
    "zero": np.array(0, np.float32),
    "columns": np.array([[1, 2], [3, 4]], np.float32),
    "spread": np.array([1, 2], np.float32),
}
ORDER = [  # along an axis that is counted from the front
    om.node("Relu", "found", "positive"),
    om.node("Concat", "found positive", "both", axis=1),
    om.node("Reshape", "both row", "y"),
]
POOL = [om.node("MaxPool", "padded", "most", kernel_shape=[2, 2]), om.node("Flatten", "most", "y")]

REFUSED = {
    "a matrix with more axes than it is multiplied with": [
        om.node("Reshape", "x square", "m"),
        om.node("MatMul", "w m", "found"),
        *ORDER,
    ],
    "no axes to squeeze": [
        om.node("Reshape", "x wide", "m"),
        om.node("Squeeze", "m none", "found"),
        *ORDER,
    ],
    "zeros before a maximum": [
        om.node("Neg", "x", "m"),
        om.node("Pad", "m pads", "padded"),
        *POOL,
    ],
    "zeros times 1 before a maximum": [
        om.node("Neg", "x", "m"),
        om.node("Pad", "m pads", "n"),
        om.node("Mul", "n one", "padded"),
        *POOL,
    ],
    "zeros less 0 before a maximum": [
        om.node("Neg", "x", "m"),
        om.node("Pad", "m pads", "n"),
        om.node("Sub", "n zero", "padded"),
        *POOL,
    ],
    "rows of a product in place of its columns": [
        om.node("Reshape", "x square", "m"),
        om.node("MatMul", "m columns", "n"),
        om.node("Transpose", "n", "t", perm=[1, 0]),
        om.node("BatchNormalization", "t spread spread spread spread", "found"),
        *ORDER,
    ],
    "rows of a product and a factor 1": [
        om.node("Reshape", "x square", "m"),
        om.node("MatMul", "m columns", "n"),
        om.node("Mul", "one n", "f"),
        om.node("Transpose", "f", "t", perm=[1, 0]),
        om.node("BatchNormalization", "t spread spread spread spread", "found"),
        *ORDER,
    ],
}


def made(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    return om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"y": None}, weights=GIVEN, opset=13)


def read(model: onnx.ModelProto) -> None:
    read_network(model.SerializeToString(), "", preprocessing(SHAPE), SHAPE)


@pytest.mark.parametrize("name", REFUSED)
def test_operators_that_runtimes_read_in_another_way_are_refused(name: str) -> None:
    with pytest.raises(ProofCheckError):
        read(made(REFUSED[name]))


def test_zeros_behind_a_relu_are_read() -> None:
    read(made([om.node("Relu", "x", "m"), om.node("Pad", "m pads", "padded"), *POOL]))


def test_columns_of_a_product_are_read() -> None:
    norm = om.node("BatchNormalization", "n spread spread spread spread", "found")
    before = [om.node("Reshape", "x square", "m"), om.node("MatMul", "m columns", "n")]
    read(made([*before, norm, *ORDER]))


@pytest.mark.parametrize("sparse", [True, False])
def test_two_tensors_of_one_name_are_refused(sparse: bool) -> None:
    """ONNX Runtime takes the last one, and a sparse one after all others."""
    nodes = [om.node("Flatten", "x", "flat"), om.node("MatMul", "flat v", "y")]
    model = om.model(
        nodes,
        inputs={"x": (1, *SHAPE)},
        outputs={"y": None},
        weights={"v": np.ones((4, 2), np.float32)},
    )
    read(model)
    if sparse:
        values = numpy_helper.from_array(np.array([5.0, 7.0], np.float32), "v")
        places = numpy_helper.from_array(np.array([0, 3]), "places")
        model.graph.sparse_initializer.append(
            onnx.helper.make_sparse_tensor(values, places, [4, 2])
        )
    else:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 2), np.float32), "v"))
    with pytest.raises(ProofCheckError, match="two of one name"):
        read(model)
