"""Numbers that a float32 evaluation, or the checker's own, does not have: no claim is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import onnxruntime
import pytest
from checked_nets import preprocessing
from onnx import TensorProto

from robcert.certify.proof_check import read_network
from robcert.certify.proof_check.bounds import Bounds
from robcert.certify.proof_check.errors import UncheckableModelError
from robcert.certify.proof_check.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from onnx import NodeProto

    Made = tuple[list[NodeProto], dict[str, NDArray[Any]]]

SHAPE = (1, 1, 2)
IMAGE = np.full((1, *SHAPE), 0.5, np.float32)


def kernel(value: float) -> NDArray[np.float32]:
    return np.full((1, 1, 1, 1), value, np.float32)


def merged_factors() -> Made:
    """A kernel of 1e30 times 1e20, behind a ReLU whose output is 1e-30."""
    nodes = [
        om.node("Mul", "x tiny", "a"),
        om.node("Relu", "a", "b"),
        om.node("Conv", "b large", "c"),
        om.node("Mul", "c larger", "d"),
        om.node("Relu", "d", "e"),
        om.node("Mul", "e back", "f"),
        om.node("Flatten", "f", "y"),
    ]
    made = {"tiny": kernel(1e-30), "large": kernel(1e30), "larger": kernel(1e20)}
    return nodes, {**made, "back": kernel(1e-20)}


def large_deviation() -> Made:
    """1e30 divided by the root of a variance of 1e-30."""
    nodes = [
        om.node("Mul", "x tiny", "a"),
        om.node("Relu", "a", "b"),
        om.node("BatchNormalization", "b scale zero zero variance", "c", epsilon=0.0),
        om.node("Relu", "c", "d"),
        om.node("Mul", "d back", "e"),
        om.node("Flatten", "e", "y"),
    ]
    made = {"scale": 1e30, "zero": 0.0, "variance": 1e-30}
    stored = {name: np.array([value], np.float32) for name, value in made.items()}
    return nodes, {**stored, "tiny": kernel(1e-20), "back": kernel(1e-25)}


def numbers_of(made: Made, *, float32: bool) -> Bounds:
    nodes, weights = made
    graph = om.model(nodes, inputs={"x": IMAGE.shape}, outputs={"y": None}, weights=weights)
    network = read_network(graph.SerializeToString(), "", preprocessing(SHAPE), SHAPE)
    bounds = Bounds(network, Region.around(IMAGE[0].astype(np.float64), "linf", 1e-3), float32)
    for _ in network.nodes:
        bounds.extend()
    return bounds


@pytest.mark.parametrize("make", [merged_factors, large_deviation])
def test_constants_that_overflow_where_they_are_merged_are_refused(
    make: Callable[[], Made],
) -> None:
    nodes, weights = make()
    graph = om.model(nodes, inputs={"x": IMAGE.shape}, outputs={"y": None}, weights=weights)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert not np.isfinite(session.run(None, {"x": IMAGE})[0]).any()
    exact = numbers_of((nodes, weights), float32=False)
    assert exact.lower[-1] == pytest.approx(0.5, abs=2e-3)
    with pytest.raises(UncheckableModelError, match="may overflow"):
        numbers_of((nodes, weights), float32=True)


def test_a_variance_of_which_epsilon_leaves_little_is_refused() -> None:
    """Other runtimes add an epsilon of float64."""
    nodes, weights = large_deviation()
    weights["variance"] = -np.array([9e-6], np.float32)
    nodes[2] = om.node("BatchNormalization", "b scale zero zero variance", "c", epsilon=1e-5)
    with pytest.raises(UncheckableModelError, match="variance is not positive"):
        numbers_of((nodes, weights), float32=False)


@pytest.mark.parametrize(("layers", "refused"), [(3, False), (9, True)])
def test_numbers_that_vanish_in_float64_are_refused(layers: int, refused: bool) -> None:
    """x times 1e-38 for each layer and then 1e38 for each, with a ReLU after every factor."""
    nodes, last = [], "x"
    for at in range(2 * layers):
        nodes += [om.node("Mul", f"{last} {'small' if at < layers else 'large'}", f"a{at}")]
        nodes += [om.node("Relu", f"a{at}", last := f"r{at}")]
    nodes.append(om.node("Flatten", last, "y"))
    made = (nodes, {"small": kernel(1e-38), "large": kernel(1e38)})
    if refused:
        with pytest.raises(UncheckableModelError, match="may underflow"):
            numbers_of(made, float32=False)
    else:
        found = numbers_of(made, float32=False)
        assert found.lower[-1] == pytest.approx(0.5, abs=2e-3)


def test_numbers_beyond_which_coefficients_may_vanish_are_refused() -> None:
    nodes = [om.node("Mul", "x large", "a"), om.node("Mul", "a large", "b")]
    nodes += [om.node("Mul", "b large", "c"), om.node("Flatten", "c", "y")]
    with pytest.raises(UncheckableModelError, match="overflow"):
        numbers_of((nodes, {"large": kernel(1e38)}), float32=False)


# --- the reading of constants -------------------------------------------------------------------


def read(nodes: list[NodeProto], **weights: NDArray[Any]) -> NDArray[Any]:
    """The scores of IMAGE by the checker, without bounds."""
    graph = om.model(
        [om.node("Flatten", "x", "f"), *nodes],
        inputs={"x": IMAGE.shape},
        outputs={"y": None},
        weights=weights,
    )
    network = read_network(graph.SerializeToString(), "", preprocessing(SHAPE), SHAPE)
    return network.values(IMAGE[0].astype(np.float64))[network.scores]


def test_the_least_integer_is_divided_as_by_the_runtime() -> None:
    nodes = [
        om.node("Div", "a b", "c"),
        om.node("Cast", "c", "w", to=TensorProto.FLOAT),
        om.node("Add", "f w", "y"),
    ]
    for kind, least in ((np.int32, -(2**31)), (np.int8, -128), (np.int64, -7)):
        a, b = np.array([least, 7], kind), np.array([2, -2], kind)
        assert read(nodes, a=a, b=b).tolist() == [0.5 + int(least / 2), -2.5]


@pytest.mark.parametrize(
    ("stored", "to"),
    [
        (np.array([300.0, 1], np.float32), TensorProto.UINT8),
        (np.array([3e9, 1], np.float32), TensorProto.INT32),
        (np.array([np.nan, 1], np.float32), TensorProto.INT64),
        (np.array([2**53 + 1, 1], np.int64), TensorProto.FLOAT),
    ],
)
def test_numbers_that_a_type_does_not_have_are_refused(stored: NDArray[Any], to: int) -> None:
    nodes = [
        om.node("Cast", "a", "b", to=to),
        om.node("Cast", "b", "w", to=TensorProto.FLOAT),
        om.node("Add", "f w", "y"),
    ]
    with pytest.raises(UncheckableModelError, match="cannot hold"):
        read(nodes, a=stored)
    assert read(nodes, a=np.array([2, 1], stored.dtype)).tolist() == [2.5, 1.5]


def test_slices_backward_start_at_the_first_element_at_least() -> None:
    nodes = [
        om.node("Slice", "a start end axis step", "w"),
        om.node("Concat", "f w", "y", axis=1),
    ]
    ends = {"start": -9, "end": -99, "axis": 1, "step": -1}
    given: dict[str, NDArray[Any]] = {name: np.array([n]) for name, n in ends.items()}
    given["a"] = np.array([[3, 4]], np.float32)
    graph = om.model(nodes, inputs={"f": (1, 2)}, outputs={"y": None}, weights=given)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    by_runtime = session.run(None, {"f": IMAGE.reshape(1, 2)})[0]
    assert read(nodes, **given).tolist() == by_runtime[0].tolist() == [0.5, 0.5, 3.0]


@pytest.mark.parametrize(("switch", "refused"), [("", False), ("true", True), ("false", True)])
def test_dropout_behind_the_softmax_counts_where_it_may_train(switch: str, refused: bool) -> None:
    nodes = [
        om.node("Softmax", "f", "s", axis=1),
        om.node("Dropout", f"s ratio {switch}".strip(), "y"),
    ]
    given = {"ratio": np.array(0.7, np.float32)}
    if switch:
        given[switch] = np.array(switch == "true")
    if refused:
        with pytest.raises(UncheckableModelError, match=r"\(Softmax\)"):
            read(nodes, **given)
    else:
        assert read(nodes, **given).tolist() == [0.5, 0.5]
