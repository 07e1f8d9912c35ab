"""Small graphs with known answers: what is translated, what is refused, batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx_cases.small_graphs import TWO, X, model_of, node
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError
from robcert.certify.importer.twin.twin import build_twin


def test_nodes_out_of_order_are_put_in_order() -> None:
    nodes = [node("Relu", ["a"], ["y"]), node("Mul", ["x", "two"], ["a"])]
    twin = build_twin(model_of(nodes, constants={"two": TWO}))
    assert torch.equal(twin(X), (2 * X).relu())


def test_only_what_the_outputs_need_is_translated() -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Strange", ["x"], ["z"], domain="made.up")]
    twin = build_twin(model_of(nodes, outputs=["y", "z"]), outputs=["y"])
    assert torch.equal(twin(X), X.relu())


def test_initialisers_listed_as_inputs_are_constants() -> None:
    model = model_of([node("Mul", ["x", "two"], ["y"])], constants={"two": TWO})
    model.graph.input.append(helper.make_tensor_value_info("two", TensorProto.FLOAT, [3]))
    twin = build_twin(model)
    assert twin.inputs == ("x",)
    assert torch.equal(twin(X), 2 * X)


def test_other_inputs_can_be_given_values() -> None:
    model = model_of([node("Mul", ["x", "two"], ["y"])])
    model.graph.input.append(helper.make_tensor_value_info("two", TensorProto.FLOAT, [3]))
    twin = build_twin(model, constants={"two": TWO})
    assert twin.inputs == ("x",)
    assert torch.equal(twin(X), 2 * X)


def test_several_outputs_come_as_a_tuple_in_the_order_asked_for() -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["b"])]
    twin = build_twin(model_of(nodes, outputs=["b"]), outputs=["a", "b"])
    a, b = twin(X)
    assert torch.equal(a, X.relu())
    assert torch.equal(b, -a)


def test_all_missing_operators_are_listed_with_their_places() -> None:
    nodes = [
        node("Relu", ["x"], ["a"], name="first"),
        node("Strange", ["a"], ["b"], domain="made.up", name="second"),
        node("Odd", ["b"], ["c"], domain="made.up", name="third"),
        node("Strange", ["c"], ["y"], domain="made.up", name="fourth"),
    ]
    with pytest.raises(UnsupportedOperatorError) as caught:
        build_twin(model_of(nodes))
    assert str(caught.value) == (
        "no twin for Strange (domain made.up, opset 1) at node 'second', position 1 of 4 and 1 "
        "more; Odd (domain made.up, opset 1) at node 'third', position 2 of 4"
    )


def test_an_attribute_that_is_not_understood_is_named() -> None:
    model = model_of([node("Relu", ["x"], ["y"], name="odd", sharpness=2.0)])
    with pytest.raises(UnsupportedOperatorError, match=r"Relu .*'odd'.*'sharpness'"):
        build_twin(model)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Relu", ["nowhere"], ["y"])], "reads a tensor 'nowhere' that no node produces"),
        ([node("Relu", ["x"], ["a"])], "'y' that no node produces"),
        ([node("Add", ["x", "b"], ["y"]), node("Neg", ["y"], ["b"])], "cycle"),
        ([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], "made by two nodes"),
        ([node("Concat", ["x", "x"], ["y"])], "lacks the attribute 'axis'"),
    ],
)
def test_malformed_graphs_are_refused(nodes: list[NodeProto], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        build_twin(model_of(nodes))


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("ConstantOfShape", ["huge"], ["y"])], {"huge": np.array([2**16, 2**16])}),
        ([node("Expand", ["one", "huge"], ["y"])], {"one": TWO[:1], "huge": np.array([2**40])}),
        ([node("Tile", ["one", "huge"], ["y"])], {"one": TWO[:1], "huge": np.array([2**40])}),
        (
            [node("Range", ["zero", "end", "one"], ["y"])],
            {"zero": np.int64(0), "end": np.int64(2**50), "one": np.int64(1)},
        ),
        ([node("Pad", ["x", "huge"], ["y"])], {"huge": np.array([0, 0, 2**30, 0])}),
        (
            [node("Resize", ["x", "", "scales"], ["y"])],
            {"scales": np.array([1.0, 1e9], dtype=np.float32)},
        ),
    ],
)
def test_tiny_files_that_ask_for_huge_tensors_are_refused(
    nodes: list[NodeProto], constants: dict[str, Any]
) -> None:
    with pytest.raises(ModelFileError, match="elements"):
        build_twin(model_of(nodes, constants=constants))(X)


def test_constants_that_grow_step_by_step_are_refused() -> None:
    nodes = [node("Concat", [f"a{i}", f"a{i}"], [f"a{i + 1}"], axis=0) for i in range(40)]
    nodes.append(node("Add", ["x", "a40"], ["y"]))
    with pytest.raises(ModelFileError, match="unfold"):
        build_twin(model_of(nodes, constants={"a0": np.zeros(1024, dtype=np.float32)}))


def reshaping(first: int) -> ModelProto:
    """Sorted features by a Reshape whose constant shape names a batch of ``first``."""
    nodes = [
        node("Reshape", ["x", "shape"], ["a"]),
        node("ReduceSum", ["a", "axis"], ["s"], keepdims=1),
        node("Div", ["a", "s"], ["y"]),
    ]
    constants = {"shape": np.array([first, 6]), "axis": np.array([1])}
    return model_of(nodes, constants=constants, shape=[max(first, 1), 2, 3])


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 40), first=st.sampled_from([1, -1, 0]))
def test_rows_do_not_depend_on_the_batch(batch: int, first: int) -> None:
    twin = build_twin(reshaping(first), image_shape=[2, 3])
    assert twin.batching == ("mapped" if first == 1 else "native")
    x = torch.rand(batch, 2, 3, generator=torch.Generator().manual_seed(batch)) + 0.1
    flat = x.flatten(1)
    assert torch.allclose(twin(x), flat / flat.sum(1, keepdim=True), rtol=1e-6)


def test_a_batch_that_mixes_images_is_taken_apart() -> None:
    nodes = [node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), node("Sub", ["x", "m"], ["y"])]
    twin = build_twin(model_of(nodes), image_shape=[3])
    assert twin.batching == "mapped"
    assert torch.equal(twin(X), torch.zeros_like(X))


def test_a_graph_for_another_fixed_batch_runs_image_by_image_or_not_at_all() -> None:
    with pytest.raises(ModelFileError, match="does not run on an input of shape"):
        build_twin(reshaping(4), image_shape=[2, 3])


def test_a_graph_that_does_not_run_is_told_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    model = model_of([node("Add", ["x", "w"], ["y"])], constants={"w": np.zeros(5, np.float32)})
    with pytest.raises(ModelFileError) as caught:
        build_twin(model, image_shape=[3])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("inputs", [[], ["x", "x", "x"], ["", "x"]])
def test_a_node_with_inputs_that_it_cannot_have_is_refused(inputs: list[str]) -> None:
    with pytest.raises(ModelFileError, match="not those it needs"):
        build_twin(model_of([node("MatMul", inputs, ["y"])]))


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pooling_without_spatial_axes_is_refused_as_by_the_runtime(operator: str) -> None:
    model = model_of([node(operator, ["x"], ["y"])])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    with pytest.raises(runtime_state.Fail, match="less than 3"):
        session.run(None, {"x": X.numpy()})
    with pytest.raises(ModelFileError, match="needs spatial axes after batch and channels, got 2"):
        build_twin(model, image_shape=[3])
