"""Small graphs with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError
from robcert.certify.importer.twin import build_twin


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
        ([node("Relu", ["nowhere"], ["y"])], "reads a tensor 'nowhere' that nothing makes"),
        ([node("Relu", ["x"], ["a"])], "'y' that nothing makes"),
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


def test_a_function_of_the_model_is_inlined() -> None:
    model = model_of([node("Double", ["x"], ["y"], domain="made.up")], opset=17)
    body = [node("Add", ["v", "v"], ["w"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("made.up", "Double", ["v"], ["w"], body, imports))
    assert torch.equal(build_twin(model)(X), 2 * X)


def branches() -> dict[str, GraphProto]:
    outputs = [helper.make_empty_tensor_value_info("b")]
    return {
        "then_branch": helper.make_graph([node("Relu", ["x"], ["b"])], "then", [], outputs),
        "else_branch": helper.make_graph([node("Sign", ["x"], ["b"])], "else", [], outputs),
    }


@pytest.mark.parametrize("known", [True, False])
def test_a_known_condition_leaves_one_branch(known: bool) -> None:
    nodes = [node("If", ["c"], ["y"], **branches())]
    twin = build_twin(model_of(nodes, constants={"c": np.array(known)}))
    assert torch.equal(twin(X), X.relu() if known else X.sign())
    assert len(twin.straight_through) == (0 if known else 1)


def test_an_unknown_condition_is_decided_each_time() -> None:
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["c"]),
        node("If", ["c"], ["y"], **branches()),
    ]
    twin = build_twin(model_of(nodes, constants={"zero": np.float32(0)}))
    x = X.clone().requires_grad_()
    assert torch.equal(twin(x), X.relu())
    assert torch.equal(twin(-x), (-X).sign())
    (gradient,) = torch.autograd.grad(twin(-x).sum(), x)
    assert (gradient < 0).all()


def test_shapes_stay_on_the_host_and_weights_are_buffers() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "first"], ["n"]),
        node("Concat", ["n", "rest"], ["t"], axis=0),
        node("Reshape", ["a", "t"], ["y"]),
        node("Mul", ["x", "two"], ["a"]),
    ]
    constants = {"first": np.array([0]), "rest": np.array([-1]), "two": TWO}
    twin = build_twin(model_of(nodes, constants=constants)).to("cpu")
    assert [tuple(b.shape) for b in twin.module.buffers()] == [(3,)]
    assert list(twin.module.parameters()) == []
    assert torch.equal(twin(X), 2 * X)


def test_a_graph_without_a_gradient_has_a_twin_and_says_where() -> None:
    nodes = [
        node("ArgMax", ["x"], ["i"], axis=1, keepdims=0, name="winner"),
        node("OneHot", ["i", "depth", "values"], ["y"], name="votes"),
    ]
    constants = {"depth": np.int64(3), "values": np.array([0.0, 1.0], dtype=np.float32)}
    twin = build_twin(model_of(nodes, constants=constants), image_shape=[3])
    y = twin(X.clone().requires_grad_())
    assert y.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert not y.requires_grad
    assert twin.no_gradient_nodes == ("winner (ArgMax)", "votes (OneHot)")


def test_random_nodes_are_listed_and_drawn_each_time() -> None:
    nodes = [node("RandomNormalLike", ["x"], ["e"], name="noise"), node("Add", ["x", "e"], ["y"])]
    twin = build_twin(model_of(nodes), image_shape=[3])
    assert twin.random_nodes == ("noise (RandomNormalLike)",)
    assert not torch.equal(twin(X), twin(X))


def test_dropout_left_in_training_is_random_and_listed() -> None:
    nodes = [node("Dropout", ["x", "ratio", "on"], ["y"], name="drop")]
    constants = {"ratio": np.float32(0.5), "on": np.array(True)}
    twin = build_twin(model_of(nodes, constants=constants), image_shape=[3])
    assert twin.random_nodes == twin.training_nodes == ("drop (Dropout)",)
    off = {"ratio": np.float32(0.5), "on": np.array(False)}
    assert build_twin(model_of(nodes, constants=off)).random_nodes == ()


def test_statistics_of_the_batch_are_listed() -> None:
    nodes = [
        node("BatchNormalization", ["x", "one", "nil", "nil", "one"], ["y", "m", "v"],
             name="norm", training_mode=1),
    ]  # fmt: skip
    ones = np.ones(3, dtype=np.float32)
    twin = build_twin(model_of(nodes, constants={"one": ones, "nil": 0 * ones}), outputs=["y"])
    assert twin.training_nodes == ("norm (BatchNormalization)",)
    assert torch.allclose(twin(X).mean(0), torch.zeros(3), atol=1e-6)


def test_draws_of_a_fixed_shape_are_listed_too() -> None:
    nodes = [
        node("RandomNormal", [], ["e"], shape=[3], name="noise"),
        node("Add", ["x", "e"], ["y"]),
    ]
    twin = build_twin(model_of(nodes), image_shape=[3])
    assert twin.random_nodes == ("noise (RandomNormal)",)
    assert twin(X).shape == X.shape


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT])
def test_integer_pixels_keep_their_gradient_through_wider_integers(to: int) -> None:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0]),
        node("Cast", ["t"], ["a"], to=to),
        node("Cast", ["a"], ["y"], to=TensorProto.FLOAT),
    ]
    model = model_of(nodes)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = torch.tensor([[1.0, 200.0, 3.0]], requires_grad=True)
    y = build_twin(model)(x)
    assert y.tolist() == [[1.0], [200.0], [3.0]]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[1.0, 1.0, 1.0]]


def test_a_graph_in_double_precision_takes_float_pixels() -> None:
    model = model_of([node("MatMul", ["x", "w"], ["y"])], constants={"w": np.eye(3)})
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert torch.equal(build_twin(model)(X), X.double())


def test_a_recurrent_layer_of_one_image_takes_any_batch() -> None:
    torch.manual_seed(0)
    layer = torch.nn.LSTM(4, 5, bidirectional=True)
    order = [0, 3, 1, 2]  # torch has the gates as i f c o, ONNX as i o f c
    weights: dict[str, Any] = {}
    for name, kind in (
        ("W", "weight_ih"),
        ("R", "weight_hh"),
        ("wb", "bias_ih"),
        ("rb", "bias_hh"),
    ):
        both = [getattr(layer, f"{kind}_l0{end}").detach() for end in ("", "_reverse")]
        weights[name] = np.stack([torch.cat([t.chunk(4)[i] for i in order]).numpy() for t in both])
    weights["B"] = np.concatenate([weights.pop("wb"), weights.pop("rb")], 1)
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "W", "R", "B", "", "nil", "nil"], ["y"], hidden_size=5,
             direction="bidirectional"),
        node("Transpose", ["y"], ["z"], perm=[2, 0, 1, 3]),
    ]  # fmt: skip
    constants = weights | {"nil": np.zeros((2, 1, 5), dtype=np.float32)}
    model = model_of(nodes, outputs=["z"], constants=constants, shape=[1, 3, 4])
    twin = build_twin(model, image_shape=[3, 4])
    x = torch.rand(6, 3, 4)
    want = layer(x.transpose(0, 1))[0].transpose(0, 1).reshape(6, 3, 2, 5)
    assert twin.batch_free
    assert torch.allclose(twin(x), want, atol=1e-6)


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
