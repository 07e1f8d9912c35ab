"""Constants that ONNX Runtime merges or replaces, where the float32 scores show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import pytest
import torch
from onnx import TensorProto, helper
from random_graphs import outputs, sessions

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_tensor_function
from robcert.certify.verification.bounds import Region, Rounding, propagate
from robcert.certify.verification.bounds.folding import Chain
from robcert.certify.verification.network.lookalikes import lost_roundings
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import NodeProto

    Made = tuple[list[NodeProto], dict[str, NDArray[Any]]]

IMAGE = np.full((1, 1, 1, 2), 0.5, np.float32)


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def kernel(value: float) -> NDArray[np.float32]:
    return np.full((1, 1, 1, 1), value, np.float32)


def scale_after_an_offset() -> Made:
    """The kernel 1e-22 times 7.5e-21 has a few bits in float32; 1e28 enters it as an offset."""
    nodes = [
        om.node("Conv", "x one offset", "a"),
        om.node("Conv", "a small", "b"),
        om.node("Mul", "b smaller", "c"),
        om.node("Relu", "c", "d"),
        om.node("Mul", "d back", "e"),
        om.node("Flatten", "e", "y"),
    ]
    made = {"one": kernel(1), "offset": floats(1e28), "small": kernel(1e-22)}
    return nodes, {**made, "smaller": kernel(7.5e-21), "back": kernel(1e14)}


def scales_around_a_product() -> Made:
    """Both arguments of a product of matrices have a scale; they become one of 7.5e-43."""
    nodes = [
        om.node("Mul", "x large", "a"),
        om.node("Relu", "a", "b"),
        om.node("Mul", "b small", "left"),
        om.node("Relu", "x", "c"),
        om.node("Mul", "c smaller", "d"),
        om.node("Transpose", "d", "right", perm=[0, 1, 3, 2]),
        om.node("MatMul", "left right", "e"),
        om.node("Relu", "e", "g"),
        om.node("Mul", "g back", "h"),
        om.node("Flatten", "h", "y"),
    ]
    made = {"large": 1e20, "small": 7.5e-23, "smaller": 1e-20, "back": 1e22}
    return nodes, {name: np.array(value, np.float32) for name, value in made.items()}


def nearly_gelu() -> Made:
    """x (1 + erf(x / sqrt 2)) times 0.500004, which the runtime takes for 0.5."""
    nodes = [
        om.node("Mul", "x large", "first"),
        om.node("Add", "first bias", "z"),
        om.node("Div", "z root", "a"),
        om.node("Erf", "a", "b"),
        om.node("Add", "b one", "c"),
        om.node("Mul", "z c", "d"),
        om.node("Mul", "d half", "e"),
        om.node("Flatten", "e", "y"),
    ]
    made = {"large": 80.0, "bias": 1e-3, "root": 2**0.5, "one": 1.0, "half": 0.500004}
    return nodes, {name: np.array(value, np.float32) for name, value in made.items()}


def nearly_gelu_by_tanh() -> Made:
    nodes = [
        om.node("Mul", "x large", "z"),
        om.node("Pow", "z three", "a"),
        om.node("Mul", "a cubic", "b"),
        om.node("Add", "z b", "c"),
        om.node("Mul", "c root", "d"),
        om.node("Tanh", "d", "e"),
        om.node("Add", "e one", "f"),
        om.node("Mul", "z half", "g"),
        om.node("Mul", "g f", "h"),
        om.node("Flatten", "h", "y"),
    ]
    made = {"large": 80.0, "three": 3.0, "cubic": 0.044715, "root": (2 / np.pi) ** 0.5}
    made |= {"one": 1.0, "half": 0.500004}
    return nodes, {name: np.array(value, np.float32) for name, value in made.items()}


@pytest.mark.parametrize(
    "make", [scale_after_an_offset, scales_around_a_product, nearly_gelu, nearly_gelu_by_tanh]
)
def test_bounds_hold_for_what_the_runtime_makes_of_constants(
    tmp_path: Path, make: Callable[[], Made]
) -> None:
    nodes, constants = make()
    graph = om.model(
        nodes, inputs={"x": IMAGE.shape}, outputs={"y": None}, weights=constants, opset=20
    )
    scores = np.stack([outputs(each, IMAGE) for each in sessions(graph)])[:, 0].astype(np.float64)
    size = np.abs(scores).max()
    assert np.ptp(scores, axis=0).max() > 5e-6 * size  # more than its sums are off by
    function = load_tensor_function(om.saved(tmp_path, graph))
    network = Prover.of_function(function.twin, IMAGE.shape[1:]).network
    point = torch.from_numpy(IMAGE[0]).double()
    rounding = Rounding(Arithmetic.FLOAT32, torch.float64)
    for method in (Method.INTERVAL, Method.CROWN):
        bounds = propagate(network, Region.of_box(point, point), rounding, method=method)
        lower, upper = (
            side[network.output].flatten().numpy() for side in (bounds.lower, bounds.upper)
        )
        assert (lower <= scores).all()
        assert (scores <= upper).all()
        assert np.isfinite(upper - lower).all()


def normalised(*, first: bool, epsilon: float) -> Made:
    """Layer normalisation in parts, with the sum of epsilon and variance in either order."""
    nodes = [
        om.node("ReduceMean", "x", "mean", axes=[-1], keepdims=1),
        om.node("Sub", "x mean", "centred"),
        om.node("Pow", "centred two", "squares"),
        om.node("ReduceMean", "squares", "variance", axes=[-1], keepdims=1),
        om.node("Add", "epsilon variance" if first else "variance epsilon", "sum"),
        om.node("Sqrt", "sum", "root"),
        om.node("Div", "centred root", "unit"),
        om.node("Mul", "unit gain", "scaled"),
        om.node("Add", "scaled gain", "shifted"),
        om.node("Flatten", "shifted", "y"),
    ]
    made = {"two": np.array(2.0), "epsilon": np.array(epsilon), "gain": np.array([1.0, 2.0])}
    return nodes, {name: value.astype(np.float32) for name, value in made.items()}


@pytest.mark.parametrize(
    ("first", "overridable", "epsilon", "refused"),
    [
        (False, False, 2e-5, False),
        (True, False, 2e-5, True),
        (False, True, 2e-5, True),
        (True, True, 1e-5, False),
    ],
)
def test_an_epsilon_that_the_runtime_does_not_read_is_refused(
    tmp_path: Path, first: bool, overridable: bool, epsilon: float, refused: bool
) -> None:
    nodes, constants = normalised(first=first, epsilon=epsilon)
    graph = om.model(nodes, inputs={"x": IMAGE.shape}, outputs={"y": None}, weights=constants)
    if overridable:
        graph.graph.input.append(helper.make_tensor_value_info("epsilon", TensorProto.FLOAT, []))
    image = np.array([0.5, 0.501], np.float32).reshape(IMAGE.shape)
    scores = np.stack([outputs(each, image) for each in sessions(graph)])
    assert (np.ptp(scores, axis=0).max() > 1e-5) == refused
    function = load_tensor_function(om.saved(tmp_path, graph))
    if refused:
        with pytest.raises(UnsupportedOperatorError, match="has an epsilon"):
            Prover.of_function(function.twin, IMAGE.shape[1:])
    else:
        assert not Prover.of_function(function.twin, IMAGE.shape[1:]).network.obstacle
    assert Prover.of_function(function.twin, IMAGE.shape[1:], Arithmetic.REAL).network.nodes


@pytest.mark.parametrize(("name", "value"), [("mul", 0.5), ("add", 1.0), ("pow", 3.0), ("mm", 0.5)])
def test_numbers_near_those_of_a_known_function_count(name: str, value: float) -> None:
    assert lost_roundings(value, name) == lost_roundings(torch.tensor(value), name) == 0
    near = lost_roundings(torch.tensor(value * (1 + 1e-5)), name)
    assert near == (0 if name == "mm" else pytest.approx(168, abs=3))
    assert lost_roundings(value * 1.001, name) == 0
    assert lost_roundings(torch.full((2,), value * (1 + 1e-5)), name) == 0


def test_chains_multiply_what_enters_late() -> None:
    """x enters at 1, an offset of 1e20 before the second of three factors of 1e3."""
    chain = Chain.starting(1.0).extended(1e3)
    late = Chain.joined([chain, Chain.starting(1e20)]).extended(1e3).extended(1e3)
    assert (late.gain, late.reach, late.length) == (1e9, 1e20, 3)
    assert late.largest == pytest.approx(1e26)
    float32, real = (
        Rounding(each, torch.float64) for each in (Arithmetic.FLOAT32, Arithmetic.REAL)
    )
    assert real.folding(late, late) == 0 == float32.folding(None)
    assert float32.folding(late) == pytest.approx(6 * 2.0**-126 * 1e29)
    assert float32.folding(late.times(late)) == np.inf
