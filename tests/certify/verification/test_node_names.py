"""A refusal names the node of the model's file, wherever it is met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_models as om
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from vnnlib_files import old_style, written

from robcert.certify.errors import TwinUnavailableError, UnsupportedOperatorError
from robcert.certify.importer import load_classifier, load_tensor_function
from robcert.certify.verification.properties import Answer, check_property
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx import NodeProto

REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Mod": ("logits half", "out", {"fmod": 1}),
    "TopK": ("logits count", "out places", {}),
    "Tan": ("logits", "out", {}),
}
"""Operators without linear bounds: their inputs, outputs and attributes behind the logits."""

CONSTANTS = {"half": np.float32(0.5), "count": np.array([5])}


def with_tail(tail: Sequence[NodeProto], batch: int | str = "batch") -> onnx.ModelProto:
    made = om.linear((batch, 3, 4, 4), tail=tail)
    read = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in CONSTANTS.items()
        if name in read
    )
    return made


def tail_of(operator: str, name: str) -> list[NodeProto]:
    inputs, outputs, attributes = REFUSED[operator]
    return [helper.make_node(operator, inputs.split(), outputs.split(), name=name, **attributes)]


def refusal(folder: Path, made: onnx.ModelProto) -> str:
    function = load_tensor_function(om.saved(folder, made), output="out")
    with pytest.raises(UnsupportedOperatorError) as caught:
        Prover.of_function(function.twin, function.input_shape)
    return str(caught.value)


@pytest.mark.parametrize("operator", ["Mod", "TopK", "Tan"])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_the_node_is_that_of_the_file(tmp_path: Path, operator: str, batch: int | str) -> None:
    named = refusal(tmp_path, with_tail(tail_of(operator, "deep/inside_12"), batch))
    assert named.startswith(f"node 'deep/inside_12' ({operator}): ")
    # without a name a node is known by its output
    unnamed = refusal(tmp_path, with_tail(tail_of(operator, ""), batch))
    assert unnamed.startswith(f"node 'out' ({operator}): ")


def test_of_two_nodes_of_a_kind_the_one_is_named_that_has_no_bounds(tmp_path: Path) -> None:
    """Both compute a power, the first with a constant exponent."""
    tail = [
        om.node("Sigmoid", "logits", "a"),
        helper.make_node("Pow", ["a", "half"], ["b"], name="first"),
        helper.make_node("Pow", ["a", "b"], ["out"], name="second"),
    ]
    assert refusal(tmp_path, with_tail(tail)).startswith("node 'second' (Pow): ")


def test_a_graph_of_one_image_that_is_mapped_over_a_batch(tmp_path: Path) -> None:
    tail = [
        helper.make_node("Reshape", ["logits", "shape"], ["row"], name="row"),
        helper.make_node("Mod", ["row", "half"], ["out"], name="rest", fmod=1),
    ]
    made = with_tail(tail, batch=1)
    made.graph.initializer.append(numpy_helper.from_array(np.array([1, 5]), "shape"))
    function = load_tensor_function(om.saved(tmp_path, made))
    assert function.module.batching == "mapped"
    assert refusal(tmp_path, made).startswith("node 'rest' (Mod): ")


def test_nodes_that_the_twin_reorders_keep_their_names(tmp_path: Path) -> None:
    """Max pooling is done before the ReLU that precedes it in the file."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="positive"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Tan", ["f"], ["out"], name="tangent"),
    ]
    made = om.model(nodes, inputs={"x": ("batch", 3, 4, 4)}, outputs={"out": None})
    assert refusal(tmp_path, made).startswith("node 'tangent' (Tan): ")


def test_a_choice_by_the_image_is_named(tmp_path: Path) -> None:
    """The node If takes the branch that the largest pixel asks for."""

    def branch(name: str, operator: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["flat"], [name])], name, [], [output])

    nodes = [
        om.node("Flatten", "x", "flat"),
        om.node("ReduceMax", "x", "largest", keepdims=0),
        om.node("Greater", "largest half", "high"),
        helper.make_node(
            "If",
            ["high"],
            ["out"],
            name="choose",
            then_branch=branch("then", "Relu"),
            else_branch=branch("otherwise", "Neg"),
        ),
    ]
    constants: dict[str, Any] = {"half": np.array(0.5, np.float32)}
    made = om.model(nodes, inputs={"x": (1, 3, 2, 2)}, outputs={"out": None}, weights=constants)
    with pytest.raises(TwinUnavailableError, match="which branch If 'choose' takes"):
        refusal(tmp_path, made)


def test_verify_and_properties_name_the_node(tmp_path: Path) -> None:
    made = with_tail([helper.make_node("Mod", ["logits", "half"], ["out"], name="rest", fmod=1)])
    model = om.saved(tmp_path, made)
    with pytest.raises(UnsupportedOperatorError, match=r"^node 'rest' \(Mod\): operation 'fmod'"):
        Prover.of(load_classifier(model))
    file = written(tmp_path, old_style([(0.4, 0.6)] * 48, 5, "(>= Y_0 90.0)"))
    summary = check_property(model, file)
    assert summary.answer is Answer.UNKNOWN
    assert summary.reason.startswith("node 'rest' (Mod): ")


def test_what_no_node_computes_keeps_the_name_of_the_operation() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"^operation 'fmod' has no linear bounds$"):
        Prover.of_function(lambda x: torch.fmod(x.flatten(1), 0.5), (1, 2, 2))
