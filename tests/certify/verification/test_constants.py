"""Constants that a graph computes: exact in real arithmetic, else of any float32 evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_tensor_function
from robcert.certify.verification.bounds import Region, Rounding, propagate
from robcert.certify.verification.network import Network, traced, translated
from robcert.certify.verification.network.constant_errors import ConstantCall
from robcert.certify.verification.network.constant_rules import RULES
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import NodeProto

    from robcert.certify.importer import TensorFunction

    Array = NDArray[Any]
    Made = tuple[list[NodeProto], dict[str, Array]]

PIXELS, CLASSES = 12, 4


def draws(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(np.float32)


def product() -> Made:
    """A matrix of rank 6."""
    nodes = [om.node("MatMul", "a b", "w"), om.node("MatMul", "x w", "y")]
    return nodes, {"a": draws(PIXELS, 6), "b": draws(6, CLASSES)}


def updated() -> Made:
    """A matrix with an update of low rank, and a bias from a product."""
    nodes = [
        om.node("MatMul", "a b", "update"),
        om.node("Add", "w0 update", "w"),
        om.node("MatMul", "c d", "bias"),
        om.node("Gemm", "x w bias", "y"),
    ]
    made = {"a": 0.1 * draws(PIXELS, 2), "b": draws(2, CLASSES), "w0": draws(PIXELS, CLASSES)}
    return nodes, {**made, "c": draws(1, 30), "d": draws(30, CLASSES)}


def normalised() -> Made:
    """Rows of length 1 times gains, as weight normalisation stores them."""
    nodes = [
        om.node("Mul", "v v", "squares"),
        om.node("ReduceSum", "squares axis", "total", keepdims=1),
        om.node("Sqrt", "total", "length"),
        om.node("Div", "v length", "unit"),
        om.node("Mul", "unit gain", "turned"),
        om.node("Transpose", "turned", "w", perm=[1, 0]),
        om.node("MatMul", "x w", "y"),
    ]
    gain = draws(CLASSES, 1, seed=2)
    return nodes, {"v": draws(CLASSES, PIXELS), "gain": gain, "axis": np.array([1])}


def folded_scale() -> Made:
    """Scale and shift of a batch normalisation, computed in the graph."""
    nodes = [
        om.node("Add", "variance eps", "sum"),
        om.node("Sqrt", "sum", "deviation"),
        om.node("Div", "gamma deviation", "scale"),
        om.node("Mul", "mean scale", "moved"),
        om.node("Sub", "beta moved", "shift"),
        om.node("Mul", "x scale", "scaled"),
        om.node("Add", "scaled shift", "normal"),
        om.node("MatMul", "normal w", "y"),
    ]
    made: dict[str, Array] = {name: draws(PIXELS, seed=at) for at, name in enumerate("gb")}
    made = {"gamma": made["g"], "beta": made["b"], "mean": draws(PIXELS, seed=3)}
    made["variance"] = np.abs(draws(PIXELS, seed=4)) + 0.1
    return nodes, {**made, "eps": np.array(1e-3, np.float32), "w": draws(PIXELS, CLASSES)}


def joined() -> Made:
    """A computed token beside the pixels, as a vision transformer has it."""
    nodes = [
        om.node("Add", "token place", "first"),
        om.node("Concat", "x first", "all", axis=1),
        om.node("MatMul", "all w", "y"),
    ]
    made = {"token": draws(1, 3), "place": draws(1, 3, seed=1)}
    return nodes, {**made, "w": draws(PIXELS + 3, CLASSES)}


GRAPHS = {f.__name__: f for f in (product, updated, normalised, folded_scale, joined)}


def function_of(folder: Path, made: Made) -> TensorFunction:
    nodes, constants = made
    batch = 1 if any(node.op_type == "Concat" for node in nodes) else "batch"
    graph = om.model(
        nodes, inputs={"x": (batch, PIXELS)}, outputs={"y": None}, weights=constants, opset=17
    )
    return load_tensor_function(om.saved(folder, graph))


def network_of(folder: Path, made: Made, arithmetic: Arithmetic = Arithmetic.REAL) -> Network:
    function = function_of(folder, made)
    return Prover.of_function(function.twin, function.input_shape, arithmetic).network


def evaluated(made: Made, x: Array, kind: type, order: np.random.Generator | None) -> Array:
    """The graph in NumPy, its sums in a random order."""
    values: dict[str, Array] = {**made[1], "x": x}
    values = {k: v.astype(kind) if v.dtype.kind == "f" else v for k, v in values.items()}

    def matmul(a: Array, b: Array) -> Array:
        places = np.arange(a.shape[-1]) if order is None else order.permutation(a.shape[-1])
        total = np.zeros((*a.shape[:-1], b.shape[-1]), kind)
        for k in places:
            total = total + a[..., k, None] * b[k]
        return total

    calls: dict[str, Callable[..., Array]] = {
        "MatMul": matmul,
        "Gemm": lambda a, b, c: matmul(a, b) + c,
        "Add": lambda a, b: a + b,
        "Sub": lambda a, b: a - b,
        "Mul": lambda a, b: a * b,
        "Div": lambda a, b: a / b,
        "Sqrt": np.sqrt,
        "Transpose": np.transpose,
        "Concat": lambda a, b: np.concatenate([a, np.repeat(b, len(a), 0)], 1),
        "ReduceSum": lambda a, axis: a[:, order.permutation(a.shape[1]) if order else ...].sum(
            int(axis[0]), keepdims=True, dtype=kind
        ),
    }
    for node in made[0]:
        values[node.output[0]] = calls[node.op_type](*(values[name] for name in node.input))
    return values["y"]


def at_a_point(network: Network, x: Array, arithmetic: Arithmetic) -> tuple[Array, Array]:
    """Bounds of the scores of one image."""
    point = torch.from_numpy(x).double()
    rounding = Rounding(arithmetic, torch.float64)
    region = Region.of_box(point, point)
    bounds = propagate(network, region, rounding, method=Method.INTERVAL)
    at = network.output
    return bounds.lower[at].flatten().numpy(), bounds.upper[at].flatten().numpy()


@pytest.mark.parametrize("name", GRAPHS)
def test_in_real_arithmetic_they_are_exact(tmp_path: Path, name: str) -> None:
    made = GRAPHS[name]()
    network = network_of(tmp_path, made)
    x = np.random.default_rng(7).random((20, PIXELS)).astype(np.float32)
    exact = evaluated(made, x, np.longdouble, None).astype(np.float64)
    found = network(torch.from_numpy(x).double()).numpy()
    folded = evaluated(made, x, np.float32, None)
    assert np.abs(found - exact).max() < 1e-13 * (1 + np.abs(exact).max())
    assert np.abs(folded - exact).max() > 1e-9  # float32 folding would be seen


@pytest.mark.parametrize("name", GRAPHS)
def test_bounds_hold_for_every_way_to_compute_them(tmp_path: Path, name: str) -> None:
    made = GRAPHS[name]()
    network = network_of(tmp_path, made, Arithmetic.FLOAT32)
    order = np.random.default_rng(3)
    outside_real = False
    for x in np.random.default_rng(7).random((5, PIXELS)).astype(np.float32):
        lower, upper = at_a_point(network, x, Arithmetic.FLOAT32)
        low, high = at_a_point(network, x, Arithmetic.REAL)
        for _ in range(20):
            (y,) = evaluated(made, x[None], np.float32, order)
            assert (lower <= y).all()
            assert (y <= upper).all()
            outside_real |= bool(((y < low) | (y > high)).any())
    assert outside_real  # bounds without an allowance would not hold


@pytest.mark.parametrize("size", [1.0, 1e4, 1e8])
def test_a_constant_that_cancels_is_bounded(tmp_path: Path, size: float) -> None:
    """In float32 the order of the sum decides about a weight: 0, or 1 as it should be."""
    a = np.tile(np.array([size, 1.0, -size], np.float32), (PIXELS, 1))
    nodes = [om.node("MatMul", "a b", "w"), om.node("MatMul", "x w", "y")]
    made: Made = (nodes, {"a": a, "b": np.ones((3, CLASSES), np.float32)})
    function = function_of(tmp_path, made)
    network = translated(*traced(function.twin, function.input_shape))
    assert not network.obstacle
    assert torch.allclose(network(torch.ones(1, PIXELS).double()), torch.tensor(12.0).double())
    x, order = np.ones(PIXELS, np.float32), np.random.default_rng(1)
    lower, upper = at_a_point(network, x, Arithmetic.FLOAT32)
    found = np.concatenate([evaluated(made, x[None], np.float32, order) for _ in range(30)])
    assert (lower <= found).all()
    assert (found <= upper).all()
    assert (np.ptp(found) > 1) == (size == 1e8)


POOLS: tuple[dict[str, Any], ...] = (
    {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]},
    {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "pads": [0, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1},
)


@pytest.mark.parametrize("pool", POOLS)
def test_windows_at_the_edge_are_counted_without_error(
    tmp_path: Path, pool: dict[str, Any]
) -> None:
    nodes = [
        om.node("Reshape", "x shape", "image"),
        om.node("AveragePool", "image", "mean", **pool),
    ]
    nodes.append(om.node("Flatten", "mean", "y"))
    held_by_the_runtime(tmp_path, (nodes, {"shape": np.array([-1, 1, 3, 4])}))


@pytest.mark.parametrize("norm", ["ReduceL1", "ReduceL2"])
def test_features_of_length_1_have_bounds(tmp_path: Path, norm: str) -> None:
    """As an export of torch's ``normalize`` has it."""
    nodes = [
        om.node(norm, "x", "length", axes=[1], keepdims=1),
        om.node("Clip", "length least", "positive"),
        om.node("Div", "x positive", "unit"),
        om.node("MatMul", "unit w", "y"),
    ]
    least = np.array(1e-12, np.float32)
    held_by_the_runtime(tmp_path, (nodes, {"least": least, "w": draws(PIXELS, CLASSES)}))


def held_by_the_runtime(folder: Path, made: Made) -> None:
    """The scores of the runtime lie in narrow bounds of float32 evaluations."""
    function = function_of(folder, made)
    network = network_of(folder, made, Arithmetic.FLOAT32)
    for x in np.random.default_rng(7).random((5, PIXELS)).astype(np.float32):
        y = function.runtime(torch.from_numpy(x)[None]).numpy()[0]
        lower, upper = at_a_point(network, x, Arithmetic.FLOAT32)
        assert (lower <= y).all()
        assert (y <= upper).all()
        assert (upper - lower).max() < 1e-4


LIMITED = {
    "Min": ["x limit"],
    "Max": ["limit x"],
    "Clip": ["x less limit", "x limit more"],
}


@pytest.mark.parametrize("operator", LIMITED)
@pytest.mark.parametrize("value", [7 / 3, -7 / 3])
def test_a_limit_that_is_computed_has_an_error(tmp_path: Path, operator: str, value: float) -> None:
    """Float32 loses a part of it, and the scores are what is left of it."""
    value = float(np.float32(value))
    stored = {"value": value, "most": 1000.0, "less": value - 1, "more": value + 1}
    constants: dict[str, Array] = {k: np.array(v, np.float32) for k, v in stored.items()}
    constants["w"] = draws(PIXELS, CLASSES)
    for inputs in LIMITED[operator]:
        nodes = [
            om.node("Add", "value most", "sum"),
            om.node("Sub", "sum most", "limit"),
            om.node(operator, inputs, "limited"),
            om.node("Sub", "limited value", "rest"),
            om.node("MatMul", "rest w", "y"),
        ]
        function = function_of(tmp_path, (nodes, constants))
        network = translated(*traced(function.twin, function.input_shape))
        left = 0
        for step in (-1e-3, -1e-5, 0, 1e-5, 1e-3):
            x = np.full(PIXELS, value + step, np.float32)
            y = function.runtime(torch.from_numpy(x)[None]).numpy()[0]
            lower, upper = at_a_point(network, x, Arithmetic.FLOAT32)
            low, high = at_a_point(network, x, Arithmetic.REAL)
            assert (lower <= y).all()
            assert (y <= upper).all()
            left += bool(((y < low) | (y > high)).any())
        assert left


def test_a_limit_without_a_bound_is_refused_in_float32(tmp_path: Path) -> None:
    """Almost all of it cancels."""
    nodes = [
        om.node("Mul", "third third", "ninth"),
        om.node("Add", "ninth tiny", "more"),
        om.node("Sub", "more ninth", "limit"),
        om.node("Min", "x limit", "least"),
        om.node("MatMul", "least w", "y"),
    ]
    made: Made = (
        nodes,
        {
            "third": np.array(1 / 3, np.float32),
            "tiny": np.array(1e-30, np.float32),
            "w": draws(PIXELS, CLASSES),
        },
    )
    with pytest.raises(
        UnsupportedOperatorError, match=r"evaluation in float32: node 'least_node' \(Min\) depends"
    ) as caught:
        network_of(tmp_path, made, Arithmetic.FLOAT32)
    assert "--arithmetic real" in caught.value.hint


def cast_down() -> Made:
    """A weight stored in float64, rounded to float32 by the graph, of which little is left."""
    nodes = [
        om.node("Cast", "wide", "narrow", to=TensorProto.FLOAT),
        om.node("Sub", "narrow most", "w"),
        om.node("MatMul", "x w", "y"),
    ]
    wide = 1024 + 2.0**-3 * np.random.default_rng(1).uniform(-4, 4, (PIXELS, CLASSES))
    return nodes, {"wide": wide, "most": np.array(1024, np.float32)}


def counted() -> Made:
    """Weights from a range whose numbers a runtime adds up one by one."""
    nodes = [
        om.node("Range", "start limit delta", "numbers"),
        om.node("Reshape", "numbers shape", "matrix"),
        om.node("Sub", "matrix most", "w"),
        om.node("MatMul", "x w", "y"),
    ]
    ends = {"start": 100.1, "limit": 100.1 + 0.1 * (PIXELS * CLASSES - 0.5), "delta": 0.1}
    made: dict[str, Array] = {name: np.array(end, np.float32) for name, end in ends.items()}
    return nodes, {**made, "shape": np.array([PIXELS, CLASSES]), "most": np.array(102, np.float32)}


@pytest.mark.parametrize("make", [cast_down, counted])
def test_bounds_hold_for_the_constants_of_the_runtime(
    tmp_path: Path, make: Callable[[], Made]
) -> None:
    function = function_of(tmp_path, make())
    network = Prover.of_function(function.twin, function.input_shape).network
    outside_real = False
    for x in np.random.default_rng(7).random((5, PIXELS)).astype(np.float32):
        y = function.runtime(torch.from_numpy(x)[None]).numpy()[0]
        lower, upper = at_a_point(network, x, Arithmetic.FLOAT32)
        low, high = at_a_point(network, x, Arithmetic.REAL)
        assert (lower <= y).all()
        assert (y <= upper).all()
        outside_real |= bool(((y < low) | (y > high)).any())
    assert outside_real


@pytest.mark.parametrize("operator", ["MatMul", "Mul"])
@pytest.mark.parametrize("size", [2.0**10, 2.0**66, 1e20])
def test_constants_that_float64_does_not_have_are_not_taken_for_exact(
    tmp_path: Path, size: float, operator: str
) -> None:
    nodes = [
        om.node("Add", "a most", "sum"),
        om.node("Sub", "sum most", "w"),
        om.node(operator, "x w", "y"),
    ]
    a = draws(PIXELS, PIXELS) if operator == "MatMul" else draws(PIXELS)
    made: Made = (nodes, {"a": a, "most": np.array(size, np.float32)})
    if size > 1e6 and operator == "Mul":
        with pytest.raises(UnsupportedOperatorError, match="cancel so far"):
            network_of(tmp_path, made)
        return
    network, x = network_of(tmp_path, made), np.ones(PIXELS, np.float32)
    exact = a.astype(np.float64).sum(0) if operator == "MatMul" else a
    lower, upper = at_a_point(network, x, Arithmetic.REAL)
    assert (lower <= exact).all()
    assert (exact <= upper).all()
    assert (float((upper - lower).max()) < 1e-10) == (size < 1e6)


def narrow() -> Made:
    """A weight that some runtimes round to float16."""
    nodes = [
        om.node("Cast", "wide", "half", to=TensorProto.FLOAT16),
        om.node("Neg", "half", "minus"),
        om.node("Cast", "minus", "w", to=TensorProto.FLOAT),
        om.node("MatMul", "x w", "y"),
    ]
    return nodes, {"wide": draws(PIXELS, CLASSES)}


def chosen() -> Made:
    """Rows of a table at places that the rounding of a sum decides."""
    nodes = [
        om.node("ReduceSum", "parts axis", "sum", keepdims=0),
        om.node("Cast", "sum", "place", to=TensorProto.INT64),
        om.node("Gather", "table place", "w"),
        om.node("Mul", "x w", "y"),
    ]
    parts = np.array([[1.0, 2.0, -1.6e-7]], np.float32)
    return nodes, {"parts": parts, "axis": np.array([1]), "table": draws(5, PIXELS)}


def accumulated() -> Made:
    """Sums by an operation without a rule, which cancel in float64."""
    nodes = [
        om.node("CumSum", "parts axis", "sums"),
        om.node("Gather", "sums last", "w", axis=1),
        om.node("Mul", "x w", "y"),
    ]
    parts = np.array([[1e20, 0.3, -1e20]], np.float32)
    return nodes, {"parts": parts, "axis": np.array(1), "last": np.array([2])}


def scaled_down() -> Made:
    """A weight that loses bits where it is a subnormal number on its way."""
    factors = {"down": 2.0**-137, "up": 2.0**100, "rest": 2.0**37}
    nodes = [
        om.node("Mul", "w0 down", "w1"),
        om.node("Mul", "w1 up", "w2"),
        om.node("Mul", "w2 rest", "w"),
        om.node("Mul", "x w", "y"),
    ]
    made: dict[str, Array] = {name: np.array(f, np.float32) for name, f in factors.items()}
    return nodes, {**made, "w0": draws(PIXELS)}


def overflowing() -> Made:
    """1 over a product that is infinite in float32 and finite in float64."""
    nodes = [
        om.node("Mul", "a a", "square"),
        om.node("Div", "most square", "part"),
        om.node("Add", "part one", "w"),
        om.node("Mul", "x w", "y"),
    ]
    numbers = {"a": 3e19, "most": 1e35, "one": 1.0}
    return nodes, {name: np.array(number, np.float32) for name, number in numbers.items()}


def negative_variance() -> Made:
    """A batch normalisation by what the smallest number leaves of a negative variance."""
    nodes = [
        helper.make_node("BatchNormalization", ["x", "one", "zero", "zero", "variance"], ["y"])
    ]
    made: dict[str, Array] = {
        "one": np.ones(PIXELS, np.float32),
        "zero": np.zeros(PIXELS, np.float32),
        "variance": np.full(PIXELS, -1e-5 + 3e-9, np.float32),
    }
    return nodes, made


@pytest.mark.parametrize(
    ("make", "arithmetic"),
    [
        (scaled_down, Arithmetic.FLOAT32),
        (overflowing, Arithmetic.FLOAT32),
        (negative_variance, Arithmetic.FLOAT32),
        (negative_variance, Arithmetic.REAL),
        (narrow, Arithmetic.FLOAT32),
        (chosen, Arithmetic.FLOAT32),
        (accumulated, Arithmetic.REAL),
        (accumulated, Arithmetic.FLOAT32),
    ],
)
def test_constants_of_which_nothing_is_known_are_refused(
    tmp_path: Path, make: Callable[[], Made], arithmetic: Arithmetic
) -> None:
    with pytest.raises(UnsupportedOperatorError, match="constants that the graph computes"):
        network_of(tmp_path, make(), arithmetic)


def test_the_length_of_a_tiny_vector_has_the_error_of_its_squares() -> None:
    x = torch.full((1, 4), 1e-21, dtype=torch.float64)
    target = torch.ops.aten.linalg_vector_norm.default
    error = ConstantCall("linalg_vector_norm", target, [x, 2, [1]], {}, [None] * 3).error_of(
        torch.linalg.vector_norm(x, dim=1), moves=False
    )
    assert float(error) > 1e-19  # in float32 the squares may be 0


def test_stored_constants_add_no_roundings(tmp_path: Path) -> None:
    nodes = [om.node("Transpose", "v", "w", perm=[1, 0]), om.node("MatMul", "x w", "y")]
    network = network_of(tmp_path, (nodes, {"v": draws(CLASSES, PIXELS)}), Arithmetic.FLOAT32)
    assert max(getattr(node, "terms", 0) for node in network.nodes) == PIXELS


# --- the error of each operation on constants ----------------------------------------------------

X, Y, POSITIVE = draws(6, 6), draws(6, 6, seed=1), np.abs(draws(6, 6, seed=2)) + 0.2

CALLS: dict[str, tuple[Any, list[Any], dict[str, Any]]] = {
    "add": (torch.ops.aten.add.Tensor, [X, Y], {"alpha": 0.3}),
    "sub": (torch.ops.aten.sub.Tensor, [X, Y], {}),
    "rsub": (torch.ops.aten.rsub.Scalar, [X, 0.7], {}),
    "mul": (torch.ops.aten.mul.Tensor, [X, Y], {}),
    "div": (torch.ops.aten.div.Tensor, [X, POSITIVE], {}),
    "reciprocal": (torch.ops.aten.reciprocal.default, [POSITIVE], {}),
    "sqrt": (torch.ops.aten.sqrt.default, [POSITIVE], {}),
    "rsqrt": (torch.ops.aten.rsqrt.default, [POSITIVE], {}),
    "square": (torch.ops.aten.square.default, [X], {}),
    "pow": (torch.ops.aten.pow.Tensor_Scalar, [X, 2], {}),
    "exp": (torch.ops.aten.exp.default, [X], {}),
    "abs": (torch.ops.aten.abs.default, [X], {}),
    "clamp": (torch.ops.aten.clamp.default, [X, -0.5, 0.5], {}),
    "maximum": (torch.ops.aten.maximum.default, [X, Y], {}),
    "where": (torch.ops.aten.where.self, [X > 0, X, Y], {}),
    "sum": (torch.ops.aten.sum.dim_IntList, [X, [1]], {}),
    "mean": (torch.ops.aten.mean.dim, [X, [0], True], {}),
    "mm": (torch.ops.aten.mm.default, [X, Y], {}),
    "addmm": (torch.ops.aten.addmm.default, [POSITIVE, X, Y], {}),
    "linalg_vector_norm": (torch.ops.aten.linalg_vector_norm.default, [X, 2, [1]], {}),
    "scatter_add": (
        torch.ops.aten.scatter_add.default,
        [X, 1, np.zeros((6, 6), np.int64), Y],
        {},
    ),
}


def as_tensors(values: list[Any]) -> list[Any]:
    found = [torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in values]
    return [v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for v in found]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-3])
def test_the_error_of_an_operation_covers_float32_on_disturbed_arguments(
    name: str, share: float
) -> None:
    target, given, words = CALLS[name]
    arguments = as_tensors(given)
    errors = [
        share * v.abs() if share and isinstance(v, Tensor) and v.is_floating_point() else None
        for v in arguments
    ]
    call = ConstantCall(name, target, arguments, words, errors)
    value = target(*arguments, **words)
    error = call.error_of(value, moves=False)
    draw = torch.Generator().manual_seed(2)
    for _ in range(50):
        moved = [
            v if e is None else v + (2 * torch.rand(v.shape, generator=draw) - 1).sign() * e
            for v, e in zip(arguments, errors, strict=True)
        ]
        narrow = [
            v.float() if isinstance(v, Tensor) and v.is_floating_point() else v for v in moved
        ]
        found = target(*narrow, **words).double()
        rounded = 2.0**-24 * sum(
            float(v.abs().max()) for v in moved if isinstance(v, Tensor) and v.is_floating_point()
        )
        # the disturbed arguments are rounded to float32, which their errors do not hold
        slack = 0.0 if not share else 40 * rounded
        assert bool(((found - value).abs() <= error + slack).all()), name
    assert name in RULES
    assert float(error.max()) < 1e-4 + 100 * share


@pytest.mark.parametrize("name", CALLS)
def test_an_argument_without_a_bound_leaves_none(name: str) -> None:
    target, given, words = CALLS[name]
    arguments = as_tensors(given)
    errors = [
        torch.full_like(v, torch.inf) if isinstance(v, Tensor) and v.is_floating_point() else None
        for v in arguments
    ]
    value = target(*arguments, **words)
    error = ConstantCall(name, target, arguments, words, errors).error_of(value, moves=False)
    assert bool(torch.isinf(error).all())


def test_an_operation_without_a_rule_has_no_bound() -> None:
    x = torch.from_numpy(POSITIVE).double()
    call = ConstantCall("lgamma", torch.ops.aten.lgamma.default, [x], {}, [None])
    assert bool(torch.isinf(call.error_of(torch.lgamma(x), moves=False)).all())


def test_factors_that_become_others_are_refused() -> None:
    """A slope that is computed, and 1 - slope, which is not as precise."""
    third = torch.tensor(1 / 3)

    def function(x: Tensor) -> Tensor:
        slope = third * third
        return torch.where(x < 0, x * slope, x).flatten(1)

    assert translated(*traced(function, (1, 2, 2))).obstacle
