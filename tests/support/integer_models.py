"""A small network twice: with a uint8 input, and with the float input of its twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models
from onnx import ModelProto, TensorProto

from robcert.certify.data.arrays import from_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.model.classifier import Classifier

SIDE, HIDDEN, CLASSES = 6, 24, 4
PIXELS = SIDE * SIDE


def network(*, integer: bool) -> ModelProto:
    """Two layers with a ReLU; the uint8 input is cast and divided by 255 inside the graph."""
    node, draws = onnx_models.node, np.random.default_rng(2)
    front = [node("Cast", "x", "wide", to=TensorProto.FLOAT), node("Div", "wide top", "image")]
    layers = [
        node("Flatten", "image" if integer else "x", "flat"),
        node("Gemm", "flat w1 b1", "hidden"),
        node("Relu", "hidden", "active"),
        node("MatMul", "active w2", "logits"),
    ]
    weights = {
        "w1": draws.normal(size=(PIXELS, HIDDEN)),
        "b1": draws.normal(size=HIDDEN),
        "w2": draws.normal(size=(HIDDEN, CLASSES)),
        **({"top": np.array(255.0)} if integer else {}),
    }
    return onnx_models.model(
        [*(front if integer else []), *layers],
        inputs={"x": ("batch", 1, SIDE, SIDE)},
        outputs={"logits": ("batch", CLASSES)},
        weights={name: value.astype(np.float32) for name, value in weights.items()},
        types={"x": TensorProto.UINT8} if integer else None,
    )


def photographs(count: int) -> NDArray[np.uint8]:
    """Images ``(n, h, w)`` with black and white areas, as bright pixels are clipped."""
    drawn = np.random.default_rng(3).normal(128, 110, size=(count, SIDE, SIDE))
    return drawn.clip(0, 255).astype(np.uint8)


def labelled(model: Classifier, pixels: NDArray[Any]) -> ImageSet:
    """``pixels`` with the classes that ``model`` gives them."""
    images = from_arrays("photographs", pixels, None)
    classes = model.logits(images.pixels(np.arange(len(pixels)))).argmax(1).numpy()
    return from_arrays("photographs", pixels, classes)
