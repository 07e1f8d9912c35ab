"""Layer normalisation spelled out, of which ONNX Runtime does not read everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import pytest
import torch
from random_graphs import outputs, sessions

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_tensor_function
from robcert.certify.verification.bounds import Region, propagate
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

SHAPE = (1, 3, 8)
DRAW = np.random.default_rng(0)
IMAGE = DRAW.random(SHAPE).astype(np.float32)
GIVEN: dict[str, NDArray[Any]] = {
    "two": np.array(2, np.float32),
    "four": np.array(4, np.float32),
    "one": np.array(1, np.float32),
    "zero": np.array(0, np.float32),
    "epsilon": np.array(0.01, np.float32),
    "several": np.array([0.01, 0.0101, 0.01], np.float32).reshape(1, 1, 3, 1),
    "ones": np.ones(4, np.int64),
    "g": (1 + DRAW.random(8)).astype(np.float32),
    "b": DRAW.random(8).astype(np.float32),
    "axes": np.array([1, 3, 8]),
    "rows": np.array([3, 8]),
    "w": DRAW.normal(size=(8, 3)).astype(np.float32),
    "scale": np.array([1, 1.001, 0.999], np.float32),
    "shift": np.array([0.1, 0.2, 0.3], np.float32),
    "spread": np.array([1, 1.001, 1.002], np.float32),
}


def mean(of: str, out: str) -> NodeProto:
    return om.node("ReduceMean", of, out, axes=[-1], keepdims=1)


PARTS = {
    "mean": [mean("x", "mean")],
    "difference": [om.node("Sub", "x mean", "d")],
    "other": [],
    "power": [om.node("Pow", "d two", "p")],
    "variance": [mean("p", "v")],
    "sum": [om.node("Add", "v epsilon", "ve")],
    "root": [om.node("Sqrt", "ve", "r")],
    "quotient": [om.node("Div", "d r", "q")],
    "scaled": [
        om.node("Mul", "q g", "s"),
        om.node("Add", "s b", "o"),
        om.node("Flatten", "o", "y"),
    ],
}

REFUSED: dict[str, dict[str, list[NodeProto]]] = {
    "another exponent": {"power": [om.node("Pow", "d four", "p")]},
    "the mean less the number": {"difference": [om.node("Sub", "mean x", "d")]},
    "two differences": {
        "other": [om.node("Sub", "mean x", "e")],
        "quotient": [om.node("Div", "e r", "q")],
    },
    "the root over the difference": {"quotient": [om.node("Div", "r d", "q")]},
    "a first epsilon": {"sum": [om.node("Add", "epsilon v", "ve")]},
    "a first epsilon before a factor 1": {
        "sum": [om.node("Add", "epsilon v", "t"), om.node("Mul", "t one", "ve")]
    },
    "a first epsilon behind a factor 1": {
        "sum": [om.node("Mul", "one v", "t"), om.node("Add", "epsilon t", "ve")]
    },
    "a first epsilon behind a sum with 0": {
        "sum": [om.node("Sub", "v zero", "t"), om.node("Add", "epsilon t", "ve")]
    },
    "a first epsilon that is expanded": {
        "sum": [om.node("Add", "epsilon v", "t"), om.node("Expand", "t ones", "ve")]
    },
    "several epsilons": {"sum": [om.node("Add", "v several", "ve")]},
    "another exponent, and one over the root": {
        "power": [om.node("Pow", "d four", "p")],
        "quotient": [om.node("Div", "one r", "i"), om.node("Mul", "d i", "q")],
    },
}

READ: dict[str, dict[str, list[NodeProto]]] = {
    "as exporters write it": {},
    "one over the root": {
        "quotient": [om.node("Div", "one r", "i"), om.node("Mul", "i d", "q")],
    },
    "without a mean": {
        "power": [om.node("Pow", "x two", "p")],
        "quotient": [om.node("Div", "x r", "q")],
    },
    "factors 1": {
        "sum": [om.node("Mul", "v one", "t"), om.node("Add", "t epsilon", "ve")],
        "root": [om.node("Sqrt", "ve", "u"), om.node("Div", "u one", "r")],
    },
}


def model(nodes: list[NodeProto]) -> ModelProto:
    return om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"y": None}, weights=GIVEN)


def spelled(changed: dict[str, list[NodeProto]]) -> ModelProto:
    return model([node for part in {**PARTS, **changed}.values() for node in part])


def prover_of(
    folder: Path, made: ModelProto, arithmetic: Arithmetic = Arithmetic.FLOAT32
) -> Prover:
    function = load_tensor_function(om.saved(folder, made))
    return Prover.of_function(function.twin, function.input_shape, arithmetic)


def require_scores_within_bounds(prover: Prover, made: ModelProto) -> None:
    """At one image, by every level of the runtime's optimisation."""
    region = Region.of_ball(torch.from_numpy(IMAGE), Ball(Norm.LINF, 0.0))
    bounds = propagate(prover.network, region, prover.rounding, method=Method.CROWN)
    at = prover.network.output
    lower, upper = bounds.lower[at].numpy().ravel(), bounds.upper[at].numpy().ravel()
    for session in sessions(made):
        scores = outputs(session, IMAGE[None])[0].astype(np.float64)
        assert ((lower <= scores) & (scores <= upper)).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_runtimes_take_for_layer_normalisation_has_no_float32_certificate(
    tmp_path: Path, name: str
) -> None:
    made = spelled(REFUSED[name])
    with pytest.raises(UnsupportedOperatorError, match=r"'q_node' .* runtimes"):
        prover_of(tmp_path, made)
    prover_of(tmp_path, made, Arithmetic.REAL)


@pytest.mark.parametrize("name", READ)
def test_layer_normalisation_in_parts_has_one(tmp_path: Path, name: str) -> None:
    made = spelled(READ[name])
    require_scores_within_bounds(prover_of(tmp_path, made), made)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_scale_of_fewer_axes_than_are_normalised_has_none(tmp_path: Path, axis: int) -> None:
    """Behind a sum ONNX Runtime normalises the last axis alone."""
    before = [
        om.node("Reshape", "x axes", "a"),
        om.node("Tanh", "a", "t"),
        om.node("Add", "a t", "sum"),
    ]
    norm = om.node("LayerNormalization", "sum g b", "o", axis=axis)
    made = model([*before, norm, om.node("Flatten", "o", "y", axis=1)])
    with pytest.raises(UnsupportedOperatorError, match=r"'o_node' .* the last one alone"):
        prover_of(tmp_path, made)
    norm = om.node("LayerNormalization", "sum g b", "o", axis=2)
    made = model([*before, norm, om.node("Flatten", "o", "y", axis=1)])
    require_scores_within_bounds(prover_of(tmp_path, made), made)


BEHIND_MATRIX = {
    "transposed": [om.node("Transpose", "m", "c", perm=[1, 0])],
    "transposed behind a factor 1": [
        om.node("Mul", "m one", "f"),
        om.node("Transpose", "f", "c", perm=[1, 0]),
    ],
    "transposed behind a sum with 0": [
        om.node("Add", "zero m", "f"),
        om.node("Transpose", "f", "c", perm=[1, 0]),
    ],
}


def normalised(between: list[NodeProto]) -> ModelProto:
    nodes = [om.node("Reshape", "x rows", "a"), om.node("MatMul", "a w", "m"), *between]
    norm = om.node("BatchNormalization", "c scale shift shift spread", "n", epsilon=1e-5)
    return model([*nodes, norm, om.node("Flatten", "n", "y", axis=0)])


@pytest.mark.parametrize("name", BEHIND_MATRIX)
def test_batch_normalisation_of_the_rows_of_a_product_has_none(tmp_path: Path, name: str) -> None:
    """ONNX Runtime merges it into the columns of the matrix (MatmulBNFusion)."""
    made = normalised(BEHIND_MATRIX[name])
    with pytest.raises(UnsupportedOperatorError, match=r"'n_node' .* other channels"):
        prover_of(tmp_path, made)
    prover_of(tmp_path, made, Arithmetic.REAL)


def test_batch_normalisation_of_its_columns_has_one(tmp_path: Path) -> None:
    twice = [
        om.node("Transpose", "m", "f", perm=[1, 0]),
        om.node("Transpose", "f", "c", perm=[1, 0]),
    ]
    made = normalised(twice)
    require_scores_within_bounds(prover_of(tmp_path, made), made)
