"""Clip and Pad whose numbers the graph computes, from constants or from the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from onnx_models import linear, node, saved

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer.load import load_classifier
from robcert.certify.verification.outcome import Arithmetic
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model.classifier import Classifier

SCALAR = np.float32
CONSTANTS = {
    "third": SCALAR(1 / 3),
    "seven": SCALAR(7),
    "half": SCALAR(0.5),
    "low": SCALAR(-100),
    "nought": SCALAR(0),
    "axes": np.array([0], np.int64),
    "one_before": np.array([0, 1, 0, 1], np.int64),
}

TAILS = {
    "an upper limit by the scores": [
        node("ReduceMax", "logits", "most", keepdims=0),
        node("Mul", "most half", "high"),
        node("Clip", "logits low high", "out"),
    ],
    "both limits by the scores": [
        node("ReduceMax", "logits", "most", keepdims=0),
        node("ReduceMean", "logits", "least", keepdims=0),
        node("Mul", "most half", "high"),
        node("Clip", "logits least high", "out"),
    ],
    "a margin of the smallest score": [
        node("ReduceMin", "logits", "least", keepdims=0),
        node("Pad", "logits one_before least", "wide"),
        node("Mul", "wide half", "out"),
    ],
}


BY_CONSTANTS = {
    "value": [
        node("Mul", "third seven", "value"),
        node("Pad", "logits one_before value", "wide"),
        node("Mul", "wide half", "out"),
    ],
}


def model_of(folder: Path, tail: list[Any]) -> Classifier:
    made = linear(tail=tail)
    used = {name for entry in tail for name in entry.input}
    for name, value in CONSTANTS.items():
        if name in used:
            made.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1  # the limits are of one image
    return load_classifier(saved(folder, made))


def images_of(model: Classifier) -> torch.Tensor:
    """Dark, grey and bright images, which differ in the limits that they give."""
    draws = torch.Generator().manual_seed(2)
    levels = torch.tensor([0.02, 0.1, 0.5, 0.9, 0.98]).view(-1, 1, 1, 1)
    noise = 0.04 * torch.rand(5, *model.image_shape, generator=draws) - 0.02
    return levels + noise


@pytest.mark.parametrize("name", TAILS)
def test_bounds_follow_what_the_graph_computes(tmp_path: Path, name: str) -> None:
    model = model_of(tmp_path, TAILS[name])
    prover = Prover.of(model, Arithmetic.FLOAT32)
    x = images_of(model)
    scores = model.logits(x).double()
    assert torch.allclose(prover.network(x.double()), scores, rtol=1e-5, atol=1e-5)
    draws = torch.Generator().manual_seed(4)
    proved = 0
    for image, own in zip(x, scores, strict=True):
        y = int(own.argmax())
        for epsilon in (0.001, 0.02, 0.2):
            decision = prover.decide(image, y, Ball(Norm.LINF, epsilon))
            signs = torch.randn(200, *image.shape, generator=draws).sign()
            near = model.logits((image + epsilon * signs).clamp(0, 1))
            rivals = torch.cat([near[:, :y], near[:, y + 1 :]], 1)
            margins = near[:, y] - rivals.amax(1)
            assert decision.bound <= float(margins.min()) + 1e-6
            proved += decision.proved
    assert proved > 0 or "limit" in name


@pytest.mark.parametrize("name", BY_CONSTANTS)
def test_constants_of_another_value_in_float32_are_refused(tmp_path: Path, name: str) -> None:
    model = model_of(tmp_path, BY_CONSTANTS[name])
    with pytest.raises(
        UnsupportedOperatorError, match=r"^no certificate .* node '\w+' \((Clip|Pad)"
    ):
        Prover.of(model, Arithmetic.FLOAT32)
    prover = Prover.of(model, Arithmetic.REAL)
    x = torch.cat([images_of(model), torch.ones(1, *model.image_shape)])
    scores = model.logits(x).double()
    assert torch.allclose(prover.network(x.double()), scores, rtol=1e-5, atol=1e-5)


def test_a_whole_number_by_the_pixels_names_its_node(tmp_path: Path) -> None:
    tail = [
        node("ReduceMin", "logits", "least", keepdims=0),
        node("Mul", "least nought", "zero"),
        node("Cast", "zero", "axis", to=7),
        node("Unsqueeze", "logits axes", "one"),
        node("CumSum", "one axis", "sums"),
        node("Squeeze", "sums axes", "out"),
    ]
    model = model_of(tmp_path, tail)
    with pytest.raises(UnsupportedOperatorError, match="computed from the pixels") as caught:
        Prover.of(model, Arithmetic.FLOAT32)
    assert str(caught.value).startswith("node 'sums_node' (CumSum): ")
    assert "\n" not in str(caught.value)
