"""Classes of a file's own output that differ from those of the logits in front of it are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx import TensorProto
from onnx_models import model, node, saved

from robcert.certify.auditing.doubts import NO_SLOPE, input_doubts
from robcert.certify.data.arrays import from_arrays
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.model.own_output import own_output_doubt

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import NodeProto

    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.model import Classifier

CLASSES = 4
LARGE, TINY = 40.0, 1e-9


def greys() -> ImageSet:
    """Images whose brightest corner, out of four, is their label."""
    pixels = np.random.default_rng(0).uniform(0.45, 1, (40, 2, 2, 1)).astype(np.float32)
    return from_arrays("greys", pixels, pixels.reshape(40, 4).argmax(1))


def loaded(path: Path, scale: float, tail: list[NodeProto]) -> Classifier:
    made = model(
        [node("Flatten", "x", "flat"), node("Mul", "flat scale", "logits"), *tail],
        inputs={"x": ("n", 1, 2, 2)},
        outputs={"out": None},
        weights={"scale": np.array(scale, np.float32)},
    )
    return load_classifier(saved(path, made), LoadOptions(multiclass=True))


@pytest.mark.parametrize(
    ("scale", "tail"),
    [(LARGE, [node("Sigmoid", "logits", "out")]), (TINY, [node("Softmax", "logits", "out")])],
)
def test_an_output_that_rounds_scores_to_equal_ones_is_told(
    tmp_path: Path, scale: float, tail: list[NodeProto]
) -> None:
    classifier, images = loaded(tmp_path, scale, tail), greys()
    pixels = images.pixels(np.arange(40))
    assert classifier.runtime.declared is not None
    own = classifier.runtime.declared(pixels).argmax(1)
    analysed = classifier.logits(pixels).argmax(1)
    differ = int((own != analysed).sum())
    assert differ > 10
    line = own_output_doubt(classifier, images)
    assert f"'out' gives {differ} of 40 images another class" in line
    right = int((own == torch.as_tensor(images.labels)).sum())
    assert line.endswith(f"By the output {right} images are correct, by those scores 40")
    assert line in input_doubts(classifier, images, None)


@pytest.mark.parametrize("operator", ["Sigmoid", "Softmax", "Identity"])
def test_nothing_is_said_where_the_classes_are_the_same(tmp_path: Path, operator: str) -> None:
    classifier = loaded(tmp_path, 1.0, [node(operator, "logits", "out")])
    assert own_output_doubt(classifier, greys()) == ""


@pytest.mark.parametrize("steps", [True, False])
def test_a_model_without_any_slope_is_told(tmp_path: Path, steps: bool) -> None:
    cast = [node("Cast", "logits", "whole", to=TensorProto.INT32)]
    tail = [*cast, node("Cast", "whole", "out", to=TensorProto.FLOAT)]
    classifier = loaded(tmp_path, 100.0, tail if steps else [node("Identity", "logits", "out")])
    assert classifier.differentiable
    assert (NO_SLOPE in input_doubts(classifier, greys(), None)) == steps


def test_one_score_is_not_compared(tmp_path: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("ReduceSum", "flat axis", "sum", keepdims=1),
            node("Sub", "sum three", "out"),
        ],
        inputs={"x": ("n", 1, 2, 2)},
        outputs={"out": None},
        weights={"axis": np.array([1]), "three": np.array(3, np.float32)},
    )
    classifier = load_classifier(saved(tmp_path, made), LoadOptions())
    assert classifier.runtime.declared is not None
    assert own_output_doubt(classifier, greys()) == ""
