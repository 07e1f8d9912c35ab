"""Networks in float16 whose softmax is cut off: classes are those of the file as it is shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from onnx_models import model, node, saved

from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.model.preprocessing import PreprocessOptions

if TYPE_CHECKING:
    from pathlib import Path

SIDE, CLASSES = 8, 10
GENERATOR = np.random.default_rng(0)


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Large logits near one another, which float16 rounds to steps of 1/16."""
    weight = GENERATOR.normal(size=(3 * SIDE * SIDE, CLASSES)) * 0.002
    half = model(
        [
            node("Flatten", "x", "flat"),
            node("Gemm", "flat weight bias", "linear"),
            node("Relu", "linear", "logits"),
            node("Softmax", "logits", "p"),
        ],
        inputs={"x": ("n", 3, SIDE, SIDE)},
        outputs={"p": ("n", CLASSES)},
        weights={
            "weight": weight.astype(np.float16),
            "bias": np.full(CLASSES, 100, np.float16),
        },
        types={"x": TensorProto.FLOAT16, "p": TensorProto.FLOAT16},
    )
    return saved(tmp_path, half)


def test_logits_are_not_rounded_where_the_file_does_not_round_them(shipped: Path) -> None:
    x = GENERATOR.random((40, 3, SIDE, SIDE)).astype(np.float32)
    file = onnxruntime.InferenceSession(shipped, providers=["CPUExecutionProvider"])
    expected = np.concatenate(
        [file.run(None, {"x": image[None].astype(np.float16)})[0] for image in x]
    )
    options = PreprocessOptions(layout="NCHW", range=(0.0, 1.0))
    classifier = load_classifier(shipped, LoadOptions(preprocess=options, device="cpu", threads=1))
    assert classifier.info.logits_from.startswith("input of Softmax")
    logits = classifier.logits(torch.from_numpy(x))
    assert logits.softmax(1).numpy() == pytest.approx(expected.astype(np.float64), rel=1e-3)
    best = np.sort(expected, 1)
    clear = best[:, -1] > best[:, -2]
    assert clear.mean() > 0.8
    assert (logits.argmax(1).numpy() == expected.argmax(1))[clear].all()
