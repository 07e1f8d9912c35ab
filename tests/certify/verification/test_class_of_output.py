"""Certificates are about the class of the file's own output, which is read from the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_classifier
from robcert.certify.verification.outcome import Arithmetic
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto, NodeProto

SOFTMAX = om.node("Softmax", "z", "p", axis=1)
QUOTIENT = [om.node("ReduceSum", "e axes", "sum"), om.node("Div", "e sum", "y")]
HALF = [
    om.node("Cast", "p", "half", to=TensorProto.FLOAT16),
    om.node("Cast", "half", "y", to=TensorProto.FLOAT),
]
LEVELS = [
    om.node("QuantizeLinear", "p level zero", "q"),
    om.node("DequantizeLinear", "q level zero", "y"),
]

LOST: dict[str, tuple[list[NodeProto], float, str]] = {
    "in float16": ([SOFTMAX, *HALF], 1.0, r"'half_node' \(Cast\) rounds its scores"),
    "in 8 bits": ([SOFTMAX, *LEVELS], 1.0, r"'q_node' \(QuantizeLinear\) rounds its scores"),
    "logarithms in float16": (
        [om.node("Softmax", "z", "s", axis=1), om.node("Log", "s", "p"), *HALF],
        1.0,
        r"'half_node' \(Cast\) rounds its scores",
    ),
    "exponentials overflow": ([om.node("Exp", "z", "e"), *QUOTIENT], 200.0, "may all overflow"),
    "exponentials vanish": ([om.node("Exp", "z", "e"), *QUOTIENT], -300.0, "or vanish"),
}

KEPT: dict[str, list[NodeProto]] = {
    "softmax": [om.node("Softmax", "z", "y", axis=1)],
    "logarithms": [SOFTMAX, om.node("Log", "p", "y")],
    "exponentials of differences from the largest": [
        om.node("ReduceMax", "z", "largest", axes=[1]),
        om.node("Sub", "z largest", "d"),
        om.node("Exp", "d", "e"),
        *QUOTIENT,
    ],
}


def made(tail: list[NodeProto], scale: float) -> ModelProto:
    """Three logits, ``scale`` times the mean of four pixels; the last is a bit larger."""
    gap = 1e-4 if scale == 1 else 0.1
    weights = {
        "w": np.full((4, 3), scale / 4, np.float32),
        "b": (np.array([0, 0, gap]) - scale / 2).astype(np.float32),
        "axes": np.array([1]),
        "level": np.array(1 / 255, np.float32),
        "zero": np.array(0, np.uint8),
    }
    nodes = [om.node("Flatten", "x", "flat"), om.node("Gemm", "flat w b", "z"), *tail]
    return om.model(
        nodes, inputs={"x": ("batch", 1, 2, 2)}, outputs={"y": None}, weights=weights, opset=17
    )


@pytest.mark.parametrize("case", LOST)
def test_what_the_end_of_a_file_rounds_away_is_not_certified_in_float32(
    tmp_path: Path, case: str
) -> None:
    tail, scale, reason = LOST[case]
    path = om.saved(tmp_path, made(tail, scale))
    classifier = load_classifier(path)
    white = torch.ones(1, 1, 2, 2)
    (scores,) = onnxruntime.InferenceSession(path).run(None, {"x": white.numpy()})
    assert int(classifier.logits(white).argmax()) == 2
    assert int(scores.argmax()) == 0  # all three scores are equal, or none is a number
    with pytest.raises(UnsupportedOperatorError, match=reason) as raised:
        Prover.of(classifier)
    assert "--arithmetic real" in raised.value.hint
    exact = Prover.of(classifier, Arithmetic.REAL)
    assert exact.decide(white[0], 2, Ball(Norm.LINF, 0.1)).proved


@pytest.mark.parametrize("case", KEPT)
def test_ends_that_keep_the_class_have_certificates(tmp_path: Path, case: str) -> None:
    prover = Prover.of(load_classifier(om.saved(tmp_path, made(KEPT[case], 300.0))))
    assert prover.decide(torch.full((1, 2, 2), 0.5), 2, Ball(Norm.LINF, 0.0)).proved
