"""The checker's reading of ONNX against ONNX Runtime, and its maps against their transposes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import onnxruntime
import pytest
from checked_nets import preprocessing
from onnx import TensorProto, helper

from robcert.certify.proof_check import UncheckableModelError, read_network
from robcert.certify.proof_check.maps import Choice, Convolution, Factors, Matrix, Sum
from robcert.certify.proof_check.network import Kind

if TYPE_CHECKING:
    from onnx import NodeProto

    from robcert.certify.proof_check.maps import LinearMap

DRAWS = np.random.default_rng(0)
SHAPE = (2, 6, 5)


def floats(*shape: int) -> np.ndarray:
    return DRAWS.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


n = om.node
CASES: dict[str, tuple[list[NodeProto], dict[str, np.ndarray]]] = {
    "conv": (
        [n("Conv", "x w b", "y", pads=[1, 0, 2, 1], strides=[2, 1])],
        {"w": floats(3, 2, 3, 2), "b": floats(3)},
    ),
    "conv grouped dilated": (
        [n("Conv", "x w", "y", group=2, dilations=[2, 1])],
        {"w": floats(4, 1, 2, 3)},
    ),
    "conv same upper": (
        [n("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": floats(3, 2, 3, 2)},
    ),
    "conv same lower": (
        [n("Conv", "x w", "y", auto_pad="SAME_LOWER", strides=[1, 2])],
        {"w": floats(3, 2, 2, 2)},
    ),
    "gemm": (
        [n("Flatten", "x", "f"), n("Gemm", "f w b", "y", transB=1, alpha=0.5, beta=2.0)],
        {"w": floats(4, 60), "b": floats(4)},
    ),
    "leaky relu": ([n("LeakyRelu", "x", "y", alpha=0.3)], {}),
    "leaky relu, usual slope": ([n("Neg", "x", "p"), n("LeakyRelu", "p", "y")], {}),
    "clip": (
        [n("Clip", "x lo hi", "y")],
        {"lo": np.array(0.25, np.float32), "hi": np.array(0.6, np.float32)},
    ),
    "clip from above": (
        [n("Neg", "x", "p"), helper.make_node("Clip", ["p", "", "hi"], ["y"])],
        {"hi": np.array(-0.5, np.float32)},
    ),
    "clip with crossed limits": (
        [n("Clip", "x lo hi", "y")],
        {"lo": np.array(0.6, np.float32), "hi": np.array(0.4, np.float32)},
    ),
    "matmul left": ([n("MatMul", "w x", "y")], {"w": floats(3, 6)}),
    "matmul right": ([n("MatMul", "x w", "y")], {"w": floats(5, 3)}),
    "add sub mul div": (
        [
            n("Add", "x a", "p"),
            n("Sub", "a p", "q"),
            n("Mul", "b q", "r"),
            n("Div", "r b", "s"),
            n("Sub", "s x", "y"),
        ],
        {"a": floats(2, 1, 1), "b": floats(6, 5)},
    ),
    "neg and residual": (
        [n("Neg", "x", "p"), n("Relu", "p", "q"), n("Add", "q p", "r"), n("Add", "r r", "y")],
        {},
    ),
    "batch norm": (
        [n("BatchNormalization", "x s b m v", "y", epsilon=1e-3)],
        {"s": floats(2), "b": floats(2), "m": floats(2), "v": np.abs(floats(2)) + 0.1},
    ),
    "average pool": (
        [n("AveragePool", "x", "y", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0])],
        {},
    ),
    "average pool with padding": (
        [n("AveragePool", "x", "y", kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1)],
        {},
    ),
    "max pool": (
        [n("MaxPool", "x", "y", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0])],
        {},
    ),
    "max pool dilated": (
        [n("Neg", "x", "m"), n("MaxPool", "m", "y", kernel_shape=[2, 2], dilations=[2, 3])],
        {},
    ),
    "global average pool": ([n("GlobalAveragePool", "x", "y")], {}),
    "reduce mean": ([n("ReduceMean", "x", "y", axes=[1, -1], keepdims=0)], {}),
    "moves": (
        [
            n("Transpose", "x", "t", perm=[0, 2, 3, 1]),
            n("Reshape", "t s", "r"),
            n("Unsqueeze", "r one", "u"),
            n("Squeeze", "u one", "q"),
            n("Slice", "q from to axes step", "y"),
        ],
        {
            "s": ints(0, 5, -1),
            "one": ints(1),
            "from": ints(10, 1),
            "to": ints(-100, 4),
            "axes": ints(2, 1),
            "step": ints(-2, 1),
        },
    ),
    "pad and concat": (
        [
            n("Pad", "x p v", "a"),
            n("Concat", "x c", "b", axis=3),
            n("Concat", "a b", "y", axis=2),
        ],
        {
            "p": ints(0, 0, 1, 0, 0, 0, 2, 1),
            "v": np.array(0.5, np.float32),
            "c": floats(1, 2, 6, 1),
        },
    ),
    "expand and gather": (
        [n("Expand", "x s", "e"), n("Gather", "e i", "y", axis=1)],
        {"s": ints(1, 1, 6, 5), "i": ints(1, -2)},
    ),
    "shapes": (
        [
            n("Shape", "x", "s"),
            n("Gather", "s zero", "b"),
            n("Unsqueeze", "b axis", "bu"),
            n("Concat", "bu rest", "t", axis=0),
            n("Reshape", "x t", "y"),
        ],
        {"zero": np.array(0, np.int64), "axis": ints(0), "rest": ints(-1)},
    ),
    "dropout and identity": ([n("Identity", "x", "i"), n("Dropout", "i", "y")], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_compute_what_the_runtime_does(name: str) -> None:
    nodes, weights = CASES[name]
    nodes = [*nodes, n("Flatten", "y", "flat"), n("Identity", "flat", "z")]
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    data = made.SerializeToString()
    network = read_network(data, "", preprocessing(SHAPE), SHAPE)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for _ in range(3):
        x = DRAWS.random(SHAPE).astype(np.float32)
        (expected,) = session.run(None, {"x": x[None]})
        found = network.values(x.astype(np.float64))[network.scores]
        np.testing.assert_allclose(found, expected.ravel(), rtol=2e-5, atol=2e-5)


MAPS: dict[str, tuple[LinearMap, list[int]]] = {
    "matrix": (Matrix(DRAWS.normal(size=(4, 3))), [20]),
    "factors": (Factors(DRAWS.normal(size=8)), [8]),
    "sum": (Sum((1, -1, 1)), [6, 6, 6]),
    "choice": (Choice(np.array([3, -1, 0, 0, 5, 4]), (4, 2)), [4, 2]),
    "convolution": (
        Convolution(
            DRAWS.normal(size=(2, 3, 2, 6)), (5, 7), (3, 3), (3, 2), (2, 3), (1, 1), (1, 0)
        ),
        [4 * 35],
    ),
    "depthwise": (
        Convolution(DRAWS.normal(size=(3, 1, 1, 2)), (6,), (4,), (2,), (1,), (2,), (0,)),
        [18],
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_the_transpose_is_the_adjoint(name: str) -> None:
    linear, sizes = MAPS[name]
    x = [DRAWS.normal(size=(1, size)) for size in sizes]
    y = linear.forward(x)
    rows = DRAWS.normal(size=(5, y.shape[1]))
    back = linear.transpose(rows)
    found = sum(part @ given[0] for part, given in zip(back, x, strict=True))
    np.testing.assert_allclose(found, rows @ y[0], rtol=1e-12, atol=1e-12)
    absolute = linear.forward([np.abs(each) for each in x], absolute=True)
    assert (absolute >= np.abs(y) - 1e-12).all()
    ones = linear.forward([np.ones_like(each) for each in x], absolute=True)
    used = [np.count_nonzero(part, axis=1).max() for part in linear.transpose(np.eye(y.shape[1]))]
    assert ones.shape == y.shape
    assert linear.uses >= 1
    assert max(used) <= max(1, linear.terms + len(sizes))


@pytest.mark.parametrize(
    ("stated", "by_hand"),
    [
        ({"range": [0.0, 255.0]}, lambda x: x * 255),
        (
            {"mean": [0.5, 0.25], "std": [0.5, 2.0], "channels": "BGR"},
            lambda x: (
                (x[::-1] - np.array([0.5, 0.25])[:, None, None])
                / np.array([0.5, 2.0])[:, None, None]
            ),
        ),
        ({"layout": "NHWC", "input_shape": [6, 5, 2]}, lambda x: x.transpose(1, 2, 0)),
        (
            {"layout": "flat", "flatten": "column-major", "input_shape": [60]},
            lambda x: x.transpose(0, 2, 1).ravel(),
        ),
    ],
)
def test_preprocessing(stated: dict[str, Any], by_hand: Any) -> None:
    how = preprocessing(SHAPE, **stated)
    made = om.model(
        [n("Reshape", "x s", "z")],
        inputs={"x": (1, *how.input_shape)},
        outputs={"z": None},
        weights={"s": ints(1, -1)},
    )
    network = read_network(made.SerializeToString(), "", how, SHAPE)
    x = DRAWS.random(SHAPE)
    np.testing.assert_allclose(
        network.values(x)[network.scores], np.ravel(by_hand(x)), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize(
    ("tail", "refused"),
    [
        ([n("Softmax", "f", "z", axis=1)], ""),
        ([n("LogSoftmax", "f", "s", axis=-1), n("Identity", "s", "z")], ""),
        ([n("Softmax", "f", "z", axis=0)], "softmax after them is not over the classes"),
        ([n("Softmax", "f", "s", axis=1), n("Neg", "s", "z")], "(Softmax)"),
        ([n("Sigmoid", "f", "z")], "the sigmoid after them is not of one score alone"),
        ([n("Sigmoid", "f", "s"), n("Neg", "s", "z")], "node 's_node' (Sigmoid): the checker has"),
        ([n("Mul", "f f", "z")], "products of two branches"),
        ([n("Add", "f lost", "z")], "its input 'lost' is unknown"),
        ([n("Reshape", "f s", "z")], "not one number for each of several classes"),
    ],
)
def test_what_ends_a_network(tail: list[NodeProto], refused: str) -> None:
    made = om.model(
        [n("Flatten", "x", "f"), *tail],
        inputs={"x": (1, *SHAPE)},
        outputs={"z": None},
        weights={"s": ints(2, 30)},
    )
    data = made.SerializeToString()
    if not refused:
        network = read_network(data, "", preprocessing(SHAPE), SHAPE)
        assert network.nodes[-1].kind is Kind.CUT
        assert network.classes == 60
        return
    with pytest.raises(UncheckableModelError) as error:
        read_network(data, "", preprocessing(SHAPE), SHAPE)
    assert refused in str(error.value)


@pytest.mark.parametrize("tail", [[], [n("Sigmoid", "s", "z")]])
def test_one_score_is_that_of_the_second_of_two_classes(tail: list[NodeProto]) -> None:
    nodes = [n("Flatten", "x", "f"), n("ReduceMean", "f", "s" if tail else "z", axes=[1]), *tail]
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None})
    network = read_network(made.SerializeToString(), "", preprocessing(SHAPE), SHAPE)
    x = DRAWS.random(SHAPE)
    assert network.values(x)[network.scores] == pytest.approx([0, x.mean()])


@pytest.mark.parametrize(
    ("operator", "first", "second", "exact"),
    [
        ("Add", 1.5, 0.25, True),
        ("Add", 1.5, 1e-9, False),
        ("Sub", 1.0, 1e-9, False),
        ("Add", 0.3, 1e20, False),
        ("Sub", 1e20, 0.3, False),
        ("Mul", 3.0, 0.5, True),
        ("Mul", 1 / 3, 1 / 3, False),
        ("Div", 1.0, 4.0, True),
        ("Div", 1.0, 3.0, False),
    ],
)
def test_constants_that_are_rounded_are_refused(
    operator: str, first: float, second: float, exact: bool
) -> None:
    """Real arithmetic does not round them, and runtimes may round them in another way."""
    nodes = [n("Flatten", "x", "f"), n(operator, "a b", "c"), n("Mul", "f c", "z")]
    weights = {"a": np.array(first, np.float32), "b": np.array(second, np.float32)}
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    if exact:
        network = read_network(made.SerializeToString(), "", preprocessing(SHAPE), SHAPE)
        assert network.classes == 60
        return
    with pytest.raises(UncheckableModelError, match=r"'c_node' \(\w+\): it computes constants"):
        read_network(made.SerializeToString(), "", preprocessing(SHAPE), SHAPE)


def test_a_cast_to_fewer_bits_is_refused() -> None:
    """Runtimes that lack an operation in float16 leave the rounding out."""
    nodes = [
        n("Cast", "a", "h", to=TensorProto.FLOAT16),
        n("Cast", "h", "c", to=TensorProto.FLOAT),
        n("Flatten", "x", "f"),
        n("Mul", "f c", "z"),
    ]
    weights = {"a": np.array(0.5, np.float32)}
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    with pytest.raises(UncheckableModelError, match=r"\(Cast\): runtimes differ"):
        read_network(made.SerializeToString(), "", preprocessing(SHAPE), SHAPE)


def test_files_that_are_no_models() -> None:
    for data in (
        b"",
        b"\x08\x07nonsense" * 9,
        om.model([], inputs={}, outputs={}).SerializeToString(),
    ):
        with pytest.raises(UncheckableModelError):
            read_network(data, "", preprocessing(SHAPE), SHAPE)


def test_a_large_declared_tensor_is_not_made() -> None:
    nodes = [n("ConstantOfShape", "s", "c"), n("Flatten", "x", "f"), n("Mul", "f c", "z")]
    weights = {"s": ints(2**20, 2**20)}
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    with pytest.raises(UncheckableModelError, match="too large"):
        read_network(made.SerializeToString(), "", preprocessing(SHAPE), SHAPE)
