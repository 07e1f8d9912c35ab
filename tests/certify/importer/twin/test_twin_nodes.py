"""Small graphs with known answers: branches, randomness, training mode, types, recurrence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import GraphProto, TensorProto, helper
from onnx_cases.small_graphs import TWO, X, model_of, node

from robcert.certify.importer.twin.twin import build_twin

if TYPE_CHECKING:
    from robcert.certify.model import GraphNode


def shown(nodes: tuple[GraphNode, ...]) -> tuple[str, ...]:
    return tuple(map(str, nodes))


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
    assert shown(twin.no_gradient_nodes) == ("winner (ArgMax)", "votes (OneHot)")


def test_random_nodes_are_listed_and_drawn_each_time() -> None:
    nodes = [node("RandomNormalLike", ["x"], ["e"], name="noise"), node("Add", ["x", "e"], ["y"])]
    twin = build_twin(model_of(nodes), image_shape=[3])
    assert shown(twin.random_nodes) == ("noise (RandomNormalLike)",)
    assert not torch.equal(twin(X), twin(X))


def test_dropout_left_in_training_is_random_and_listed() -> None:
    nodes = [node("Dropout", ["x", "ratio", "on"], ["y"], name="drop")]
    constants = {"ratio": np.float32(0.5), "on": np.array(True)}
    twin = build_twin(model_of(nodes, constants=constants), image_shape=[3])
    assert shown(twin.random_nodes) == shown(twin.training_nodes) == ("drop (Dropout)",)
    off = {"ratio": np.float32(0.5), "on": np.array(False)}
    assert build_twin(model_of(nodes, constants=off)).random_nodes == ()


def test_statistics_of_the_batch_are_listed() -> None:
    nodes = [
        node("BatchNormalization", ["x", "one", "nil", "nil", "one"], ["y", "m", "v"],
             name="norm", training_mode=1),
    ]  # fmt: skip
    ones = np.ones(3, dtype=np.float32)
    twin = build_twin(model_of(nodes, constants={"one": ones, "nil": 0 * ones}), outputs=["y"])
    assert shown(twin.training_nodes) == ("norm (BatchNormalization)",)
    assert torch.allclose(twin(X).mean(0), torch.zeros(3), atol=1e-6)
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(twin(x)[:, 0].sum(), x)
    assert torch.allclose(slope, torch.zeros_like(x), atol=1e-5)  # a constant sum: the mean is 0


def test_draws_of_a_fixed_shape_are_listed_too() -> None:
    nodes = [
        node("RandomNormal", [], ["e"], shape=[3], name="noise"),
        node("Add", ["x", "e"], ["y"]),
    ]
    twin = build_twin(model_of(nodes), image_shape=[3])
    assert shown(twin.random_nodes) == ("noise (RandomNormal)",)
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
