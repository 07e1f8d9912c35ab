"""Models whose cost depends on the pixels: cheap on a black image, without limit on others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper
from onnx_models import model, node, weights

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LINEAR = [node("Flatten", "x", "flat"), node("MatMul", "flat w", "z"), node("Add", "z more", "out")]
WHITE = [
    node("ReduceMax", "x", "top", keepdims=0),
    node("Ceil", "top", "up"),
    node("Cast", "up", "white", to=TensorProto.INT64),
]
"""0 on a black image, else 1."""


def counting(times: int = 10**12) -> ModelProto:
    """A loop of so many iterations, of none on a black image."""
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Add", "total zero", "sum")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
    )
    loop = helper.make_node("Loop", ["times", "yes", "zero"], ["more"], body=body, name="loop")
    return _made([*WHITE, node("Mul", "white many", "times"), loop], many=times)


def growing() -> ModelProto:
    """A tensor of 40 GB, of 4 bytes on a black image."""
    nodes = [
        *WHITE,
        node("Mul", "white many", "times"),
        node("Add", "times one", "length"),
        node("Reshape", "length list", "size"),
        node("Expand", "zero size", "large"),
        node("Exp", "large", "each"),
        node("ReduceMin", "each", "least", keepdims=0),
        node("Sub", "least least", "more"),
    ]
    return _made(nodes, many=10**10)


def listing() -> ModelProto:
    """The positions of 2^31 bright entries, of none on a black image."""
    nodes = [
        *WHITE,
        node("Mul", "white many", "times"),
        node("Reshape", "times list", "size"),
        node("ConstantOfShape", "size", "ones", value=helper.make_tensor("v", 1, [1], [1.0])),
        node("NonZero", "ones", "found"),
        node("Size", "found", "count"),
        node("Cast", "count", "number", to=TensorProto.FLOAT),
        node("Mul", "number zero", "more"),
    ]
    return _made(nodes, many=2**31)


def branching() -> ModelProto:
    """A branch with a tensor of 40 GB, which a black image does not take."""
    size = helper.make_tensor("size", TensorProto.INT64, [1], [10**10])
    large = helper.make_graph(
        [
            helper.make_node("Constant", [], ["size"], value=size),
            node("ConstantOfShape", "size", "large"),
            node("ReduceMax", "large", "then", keepdims=0),
        ],
        "large",
        [],
        [helper.make_tensor_value_info("then", TensorProto.FLOAT, [])],
    )
    small = helper.make_graph(
        [node("Identity", "zero", "else")],
        "small",
        [],
        [helper.make_tensor_value_info("else", TensorProto.FLOAT, [])],
    )
    chosen = node("If", "is_white", "more", then_branch=large, else_branch=small)
    return _made([*WHITE, node("Cast", "white", "is_white", to=TensorProto.BOOL), chosen], many=1)


def at_white(made: ModelProto) -> ModelProto:
    """The same model, as cheap as on a black image unless an entry is 1: no noise is dear."""
    next(part for part in made.graph.node if part.op_type == "Ceil").op_type = "Floor"
    return made


COSTLY = {"counting": counting, "growing": growing, "listing": listing, "branching": branching}
"""Functions that make such a model, by name."""


def slow(size: int = 6000) -> ModelProto:
    """One product of two square matrices, the same for every image: seconds in one operator."""
    nodes = [
        node("ReduceMax", "x", "top", keepdims=0),
        node("Expand", "top side", "square"),
        node("MatMul", "square square", "product"),
        node("ReduceMax", "product", "most", keepdims=0),
        node("Mul", "most zero", "more"),
    ]
    made = _made(nodes, many=1)
    side = helper.make_tensor("side", TensorProto.INT64, [2], [size, size])
    made.graph.initializer.append(side)
    return made


def _made(nodes: list[NodeProto], *, many: int) -> ModelProto:
    constants = {
        "many": np.array(many, np.int64),
        "one": np.array(1, np.int64),
        "list": np.array([1], np.int64),
        "yes": np.array(1, bool),
        "zero": np.array(0, np.float32),
        "w": weights(5, 48),
    }
    used = {name for part in nodes for name in part.input} | {"w", "zero"}
    return model(
        [*nodes, *LINEAR],
        inputs={"x": ("n", 3, 4, 4)},
        outputs={"out": None},
        weights={name: value for name, value in constants.items() if name in used},
    )
