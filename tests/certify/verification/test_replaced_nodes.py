"""Groups of nodes that ONNX Runtime replaces by one whose results differ by more than rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import pytest

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_tensor_function
from robcert.certify.verification.outcome import Arithmetic
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import NodeProto

WHOLE = np.random.default_rng(0).integers(-100, 100, (4, 3)).astype(np.int8)
STEP = np.array(0.03, np.float32)

BY_INTEGERS = {
    "a product": [om.node("DequantizeLinear", "q step", "w"), om.node("MatMul", "flat w", "y")],
    "a sum of products": [
        om.node("DequantizeLinear", "q step", "w"),
        om.node("Gemm", "flat w", "y", alpha=0.5),
    ],
    "a transposed matrix": [
        om.node("Transpose", "q", "turned", perm=[1, 0]),
        om.node("DequantizeLinear", "turned step", "v"),
        om.node("Transpose", "v", "w", perm=[1, 0]),
        om.node("MatMul", "flat w", "y"),
    ],
    "a product of several rows": [
        om.node("DequantizeLinear", "q step", "w"),
        om.node("Reshape", "x rows", "wide"),
        om.node("MatMul", "wide w", "y"),
    ],
}


PADS = np.array([0, 0, 1, 0, 0, 0, 0, 1])
POOL = [om.node("MaxPool", "wide", "most", kernel_shape=[2, 2]), om.node("Flatten", "most", "y")]
PADDED = {
    "zeros": [om.node("Pad", "x pads", "wide"), *POOL],
    "a zero that is stored": [om.node("Pad", "x pads zero", "wide"), *POOL],
    "a zero that is computed": [
        om.node("Mul", "zero step", "fill"),
        om.node("Pad", "x pads fill", "wide"),
        *POOL,
    ],
    "zeros with a step between": [
        om.node("Pad", "x pads", "padded"),
        om.node("Identity", "padded", "wide"),
        *POOL,
    ],
    "zeros and a factor 1": [
        om.node("Pad", "x pads", "padded"),
        om.node("Mul", "padded one", "wide"),
        *POOL,
    ],
    "zeros over 1": [
        om.node("Pad", "x pads", "padded"),
        om.node("Div", "padded one", "wide"),
        *POOL,
    ],
    "zeros and a sum with 0": [
        om.node("Pad", "x pads", "padded"),
        om.node("Add", "zero padded", "wide"),
        *POOL,
    ],
    "zeros less 0": [
        om.node("Pad", "x pads", "padded"),
        om.node("Sub", "padded zero", "wide"),
        *POOL,
    ],
    "zeros that are expanded": [
        om.node("Pad", "x pads", "padded"),
        om.node("Expand", "padded ones", "wide"),
        *POOL,
    ],
    "zeros before a transposition": [
        om.node("Transpose", "x", "turned", perm=[0, 2, 3, 1]),
        om.node("Pad", "turned others", "padded"),
        om.node("Transpose", "padded", "wide", perm=[0, 3, 1, 2]),
        *POOL,
    ],
}
HARMLESS = {
    "behind a ReLU": [om.node("Relu", "x", "a"), om.node("Pad", "a pads", "wide"), *POOL],
    "behind a ReLU, with a factor 1": [
        om.node("Relu", "x", "a"),
        om.node("Pad", "a pads", "padded"),
        om.node("Mul", "padded one", "wide"),
        *POOL,
    ],
    "0 less the padded": [
        om.node("Pad", "x pads", "padded"),
        om.node("Sub", "zero padded", "wide"),
        *POOL,
    ],
    "behind a clip": [
        om.node("Clip", "x zero step", "a"),
        om.node("Pad", "a pads", "wide"),
        *POOL,
    ],
    "another number": [om.node("Pad", "x pads step", "wide"), *POOL],
    "copies": [om.node("Pad", "x pads", "wide", mode="edge"), *POOL],
    "the pooling's own": [
        om.node("MaxPool", "x", "most", kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
        om.node("Flatten", "most", "y"),
    ],
}
GIVEN = {
    "pads": PADS,
    "others": np.array([0, 1, 0, 0, 0, 0, 1, 0]),
    "zero": np.array(0, np.float32),
    "step": STEP,
    "one": np.array(1, np.float32),
    "ones": np.ones(4, np.int64),
}


def prover_of(
    folder: Path,
    nodes: Sequence[NodeProto],
    weights: Mapping[str, NDArray[Any]],
    arithmetic: Arithmetic = Arithmetic.FLOAT32,
) -> Prover:
    made = om.model(
        [om.node("Flatten", "x", "flat"), *nodes],
        inputs={"x": (1, 1, 2, 2)},
        outputs={"y": None},
        weights=weights,
    )
    function = load_tensor_function(om.saved(folder, made))
    return Prover.of_function(function.twin, function.input_shape, arithmetic)


@pytest.mark.parametrize("name", BY_INTEGERS)
def test_products_with_weights_stored_as_integers_have_no_float32_certificate(
    tmp_path: Path, name: str
) -> None:
    """ONNX Runtime replaces them by MatMulNBits, which rounds the other factor to 8 bits."""
    given: dict[str, NDArray[Any]] = {"q": WHOLE, "step": STEP, "rows": np.array([1, 1, 4])}
    with pytest.raises(UnsupportedOperatorError, match=r"'y_node' .* stored as integers"):
        prover_of(tmp_path, BY_INTEGERS[name], given)
    prover_of(tmp_path, BY_INTEGERS[name], given, Arithmetic.REAL)


def test_convolutions_with_weights_stored_as_integers_have_one(tmp_path: Path) -> None:
    nodes = [
        om.node("DequantizeLinear", "q step", "w"),
        om.node("Conv", "x w", "found"),
        om.node("Flatten", "found", "y"),
    ]
    prover_of(tmp_path, nodes, {"q": WHOLE.reshape(12, 1, 1, 1), "step": STEP})


@pytest.mark.parametrize("name", PADDED)
def test_zeros_that_a_maximum_may_leave_out_have_no_float32_certificate(
    tmp_path: Path, name: str
) -> None:
    """ONNX Runtime merges the padding into that of the pooling, which is below all numbers."""
    with pytest.raises(UnsupportedOperatorError, match=r"'most_node' .* zeros of a padding"):
        prover_of(tmp_path, PADDED[name], GIVEN)
    prover_of(tmp_path, PADDED[name], GIVEN, Arithmetic.REAL)


def test_sums_that_are_updated_from_channel_to_channel_have_none(tmp_path: Path) -> None:
    """ONNX Runtime gives NaN behind a large square that the bounds of later sums do not read."""
    large = np.array([3e7, 1, 1, 1], np.float32).reshape(1, 4, 1, 1)
    nodes = [
        om.node("Reshape", "x channels", "rows"),
        om.node("Mul", "rows large", "wide"),
        om.node("LRN", "wide", "normal", size=3, alpha=0.5, beta=0.75, bias=1.0),
        om.node("Flatten", "normal", "y"),
    ]
    given = {"channels": np.array([1, 4, 1, 1]), "large": large}
    with pytest.raises(UnsupportedOperatorError, match=r"'normal_node' \(LRN\) has sums"):
        prover_of(tmp_path, nodes, given)
    prover_of(tmp_path, nodes, given, Arithmetic.REAL)


@pytest.mark.parametrize("name", HARMLESS)
def test_padding_that_cannot_be_the_maximum_alone_has_one(tmp_path: Path, name: str) -> None:
    prover_of(tmp_path, HARMLESS[name], GIVEN)
