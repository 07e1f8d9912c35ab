"""Small ONNX models with known answers, written node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from robcert.certify.data.arrays import from_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.data.image_set import ImageSet

Shape = Sequence["int | str"]


def model(
    nodes: Sequence[NodeProto],
    *,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape | None],
    weights: Mapping[str, NDArray[Any]] | None = None,
    types: Mapping[str, int] | None = None,
    opset: int = 17,
) -> ModelProto:
    """The graph of ``nodes``; its inputs and outputs are float32 where ``types`` says nothing."""

    def declared(name: str, shape: Shape | None) -> ValueInfoProto:
        number = (types or {}).get(name, TensorProto.FLOAT)
        return helper.make_tensor_value_info(name, number, shape)

    graph = helper.make_graph(
        list(nodes),
        "graph",
        [declared(name, shape) for name, shape in inputs.items()],
        [declared(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="test"
    )
    made.ir_version = 8
    return made


def saved(folder: Path, made: ModelProto, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """Node with names separated by spaces; its own name is that of its first output."""
    names = outputs.split()
    return helper.make_node(operator, inputs.split(), names, name=names[0] + "_node", **attributes)


def weights(classes: int, pixels: int) -> NDArray[np.float32]:
    """A fixed matrix ``(pixels, classes)``."""
    return np.random.default_rng(5).normal(size=(pixels, classes)).astype(np.float32)


def linear(
    shape: Shape = ("batch", 3, 4, 4),
    *,
    classes: int = 5,
    pixels: int = 48,
    tail: Sequence[NodeProto] = (),
) -> ModelProto:
    """Logits = flattened input times ``weights``; then ``tail`` from ``logits`` to ``out``."""
    last = "out" if tail else "logits"
    return model(
        [node("Flatten", "x", "flat"), node("MatMul", "flat w", "logits"), *tail],
        inputs={"x": shape},
        outputs={last: None},
        weights={"w": weights(classes, pixels)},
    )


def images(
    n: int = 12, shape: tuple[int, int, int] = (3, 4, 4), labels: NDArray[Any] | None = None
) -> ImageSet:
    """Random images in [0, 1], ``(n, h, w, c)`` in the file's order of axes."""
    c, h, w = shape
    pixels = np.random.default_rng(6).random((n, h, w, c)).astype(np.float32)
    return from_arrays("random", pixels, labels)
