"""Small models of many kinds, which the campaign mutates, and files with images for each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
ZOO = Path(os.environ.get("ROBCERT_ZOO", ROOT.parent / "shared" / "zoo"))
LARGEST = 500_000
"""Bytes of the largest model that is mutated."""

SHAPE = (1, 6, 6)
CLASSES = 3
RANDOM = np.random.default_rng(0)


@dataclass(frozen=True, slots=True)
class Base:
    """A model to be mutated.

    Attributes:
        name: what it is.
        content: the file.
        shape: (c, h, w) of its images.
    """

    name: str
    content: bytes
    shape: tuple[int, int, int]


def node(operator: str, inputs: str, outputs: str, **attributes: object) -> NodeProto:
    """Node with names separated by blanks."""
    names = outputs.split()
    return helper.make_node(operator, inputs.split(), names, name=f"{names[0]}_node", **attributes)


def model(
    nodes: list[NodeProto],
    weights: dict[str, np.ndarray],
    *,
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
) -> ModelProto:
    """Model of ``nodes`` from the images `x` to the scores `y`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, ["n", *SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="campaign"
    )
    made.ir_version = 8
    return made


def _weights(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32) / 3


def linear() -> ModelProto:
    return model([node("Flatten", "x", "f"), node("Gemm", "f w b", "y")], _dense())


def _dense() -> dict[str, np.ndarray]:
    return {"w": _weights(36, CLASSES), "b": _weights(CLASSES)}


def convolutional() -> ModelProto:
    nodes = [
        node("Conv", "x k kb", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c scale bias mean var", "n", epsilon=1e-5),
        node("Relu", "n", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", "p", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f w", "m"),
        node("Softmax", "m", "y", axis=1),
    ]
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    kernel = {"k": _weights(4, 1, 3, 3), "kb": _weights(4), "w": _weights(4, CLASSES)}
    return model(nodes, {**kernel, "scale": ones, "bias": zeros, "mean": zeros, "var": ones})


def with_computed_shapes() -> ModelProto:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Concat", "n rest", "to", axis=0),
        node("Reshape", "x to", "f"),
        node("Gemm", "f w b", "y"),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    return model(nodes, {**_dense(), **constants})


def with_resize() -> ModelProto:
    nodes = [
        node("Resize", "x  scales", "big", mode="nearest"),
        node("Pad", "big pads", "padded"),
        node("AveragePool", "padded", "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("Slice", "small begin end axes", "cut"),
        node("Flatten", "cut", "f"),
        node("Gemm", "f w b", "y"),
    ]
    nodes[0].input[:] = ["x", "", "scales"]
    constants = {
        "scales": np.array([1, 1, 2, 2], np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "begin": np.array([0, 0]),
        "end": np.array([6, 6]),
        "axes": np.array([2, 3]),
    }
    return model(nodes, {**_dense(), **constants})


def _body(name: str, nodes: list[NodeProto], inputs: list[onnx.ValueInfoProto]) -> onnx.GraphProto:
    outputs = [
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
    ]
    return helper.make_graph(nodes, name, inputs, outputs)


def with_loop() -> ModelProto:
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
    ]
    inside = [node("Identity", "go", "go_on"), node("Add", "before before", "after")]
    nodes = [
        node("Loop", "count true x", "looped", body=_body("body", inside, inputs)),
        node("Flatten", "looped", "f"),
        node("Gemm", "f w b", "y"),
    ]
    constants = {"count": np.array(3), "true": np.array([True])[0]}
    return model(nodes, {**_dense(), **{k: np.asarray(v) for k, v in constants.items()}})


def with_branches() -> ModelProto:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        return helper.make_graph([node(operator, "x", f"{name}_out")], name, [], [output])

    nodes = [
        node("ReduceMean", "x", "mean", keepdims=0),
        node("Greater", "mean half", "bright"),
        node("If", "bright", "z", then_branch=branch("a", "Relu"), else_branch=branch("b", "Tanh")),
        node("Flatten", "z", "f"),
        node("Gemm", "f w b", "y"),
    ]
    return model(nodes, {**_dense(), "half": np.asarray(0.5, np.float32)})


def quantised() -> ModelProto:
    nodes = [
        node("QuantizeLinear", "x step zero", "q"),
        node("DequantizeLinear", "q step zero", "d"),
        node("Flatten", "d", "f"),
        node("Gemm", "f w b", "y"),
    ]
    constants = {"step": np.float32(1 / 255), "zero": np.uint8(0)}
    return model(nodes, {**_dense(), **{k: np.asarray(v) for k, v in constants.items()}})


def of_bytes() -> ModelProto:
    nodes = [
        node("Cast", "x", "floats", to=TensorProto.FLOAT),
        node("Flatten", "floats", "f"),
        node("Gemm", "f w b", "y"),
    ]
    return model(nodes, _dense(), kind=TensorProto.UINT8)


def with_function() -> ModelProto:
    made = model([node("Flatten", "x", "f"), node("Mine", "f w b", "y", domain="own")], _dense())
    function = helper.make_function(
        "own",
        "Mine",
        ["a", "b", "c"],
        ["d"],
        [node("MatMul", "a b", "m"), node("Add", "m c", "d")],
        [helper.make_opsetid("", 17)],
    )
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def recurrent() -> ModelProto:
    nodes = [
        node("Squeeze", "x one", "rows"),
        node("Transpose", "rows", "steps", perm=[1, 0, 2]),
        node("LSTM", "steps lw lr", "all last", hidden_size=4),
        node("Squeeze", "last none", "state"),
        node("Gemm", "state dw db", "y"),
    ]
    constants = {"one": np.array([1]), "none": np.array([0])}
    made = {"lw": _weights(1, 16, 6), "lr": _weights(1, 16, 4)}
    return model(nodes, {**made, "dw": _weights(4, 3), "db": _weights(3), **constants})


BUILDERS = (
    *(linear, convolutional, with_computed_shapes, with_resize, with_loop, with_branches),
    *(quantised, of_bytes, with_function, recurrent),
)


@cache
def bases(zoo: bool = True) -> tuple[Base, ...]:
    """Models that are built here, the bundled ones, and small ones of the zoo if it is there."""
    found = [Base(build.__name__, build().SerializeToString(), SHAPE) for build in BUILDERS]
    found += [
        Base(path.stem, path.read_bytes(), (1, 28, 28))
        for path in sorted((ROOT / "fixtures").glob("*.onnx"))
    ]
    shapes = {28 * 28: (1, 28, 28), 3 * 32 * 32: (3, 32, 32)}
    for path in sorted((ZOO / "models").glob("*.onnx")) if zoo else ():
        if path.stat().st_size > LARGEST or path.stat().st_size < 1000:
            continue
        loaded = onnx.ModelProto()
        try:
            loaded.ParseFromString(path.read_bytes())
        except Exception:  # the zoo has damaged files as well
            continue
        sizes = [d.dim_value or 1 for d in loaded.graph.input[0].type.tensor_type.shape.dim]
        shape = shapes.get(int(np.prod(sizes)))
        foreign = any(one.domain not in ("", "ai.onnx") for one in loaded.graph.node)
        apart = any(one.external_data for one in loaded.graph.initializer)
        if shape is not None and not foreign and not apart:
            found.append(Base(path.stem, path.read_bytes(), shape))
    return tuple(found)
