"""Which nodes of a graph read several images of a batch."""

from __future__ import annotations

from dataclasses import replace
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
from robcert.certify.importer.executed.comparison import ImageInput
from robcert.certify.importer.executed.rows import mixing
from robcert.certify.importer.onnx_classifier import BATCHES
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto, NodeProto

SHAPE = (1, 4, 6, 8)
IMAGE = ImageInput("x", SHAPE, "float32")
DRAW = np.random.default_rng(0)
WEIGHTS = {
    "high": np.array(0.8, np.float32),
    "zero": np.array(0),
    "rows": np.array([-1, 8]),
    "back": np.array([-1, 4, 6, 8]),
    "across": np.array([6, -1, 8]),
    "w": DRAW.normal(size=(8, 8)).astype(np.float32),
    "k": DRAW.normal(size=(8, 4, 3, 3)).astype(np.float32),
    "two": np.array([[-50, 50]], np.float32),
    "half": np.array([0.5, -0.5], np.float32),
    "ones": np.array(1),
    "twos": np.array(2),
    "column": np.array([-1, 1, 1, 1]),
    "whole": np.array([2, 1, 1, 1]),
}

BRIGHT = [
    om.node("ReduceMean", "x", "mean", axes=[1, 2, 3]),
    om.node("Sub", "mean high", "over"),
    om.node("Relu", "over", "bright"),
]
"""0 on all images but those whose mean is above 0.8."""

MIXED: dict[str, list[NodeProto]] = {
    "maximum": [om.node("ReduceMax", "bright", "m", axes=[0])],
    "softmax": [om.node("Softmax", "bright", "m", axis=0)],
    "earlier ones": [om.node("CumSum", "bright zero", "m")],
    "later ones": [om.node("CumSum", "bright zero", "m", reverse=1)],
    "all": [om.node("ReduceSum", "bright", "m")],
}

NUMBERED = [
    om.node("Shape", "x", "size", start=0, end=1),
    om.node("Squeeze", "size", "count"),
    om.node("Range", "zero count ones", "number"),
]
"""The number of each image in its batch, and of all."""

PLACED: dict[str, list[NodeProto]] = {
    "size of the batch": [
        om.node("Sub", "count ones", "others"),
        om.node("Cast", "others", "factor", to=TensorProto.FLOAT),
        om.node("Mul", "bright factor", "m"),
    ],
    "place in it": [
        om.node("Cast", "number", "float", to=TensorProto.FLOAT),
        om.node("Reshape", "float column", "factor"),
        om.node("Mul", "bright factor", "m"),
    ],
}

EVERY_OTHER = [om.node("Mod", "number twos", "source"), om.node("Gather", "bright source", "m")]
"""From the third image on each has the numbers of the first or second one."""

APART: dict[str, list[NodeProto]] = {
    "convolutions": [
        om.node("Conv", "x k", "c", pads=[1, 1, 1, 1]),
        om.node("Relu", "c", "r"),
        om.node("GlobalAveragePool", "r", "m"),
    ],
    "rows of all images": [
        om.node("Reshape", "x rows", "flat"),
        om.node("MatMul", "flat w", "product"),
        om.node("Softmax", "product", "soft", axis=-1),
        om.node("Reshape", "soft back", "m"),
    ],
    "images on an inner axis": [
        om.node("Transpose", "x", "t", perm=[2, 1, 0, 3]),
        om.node("Reshape", "t across", "joined"),
        om.node("MatMul", "joined w", "product"),
        om.node("Relu", "product", "m"),
    ],
}


def made(given: list[NodeProto], output: str = "m", batch: int | str = "batch") -> ModelProto:
    return om.model(
        given, inputs={"x": (batch, *SHAPE[1:])}, outputs={output: None}, weights=WEIGHTS
    )


@pytest.mark.parametrize("case", MIXED)
def test_nodes_that_read_the_whole_batch_are_found_where_most_images_hide_it(case: str) -> None:
    assert mixing(made(BRIGHT + MIXED[case]), IMAGE, (2,)).startswith("node 'm_node' (")


@pytest.mark.parametrize("case", PLACED)
@pytest.mark.parametrize("size", [2, 3])
def test_results_that_depend_on_place_or_size_are_found(case: str, size: int) -> None:
    told = mixing(made(BRIGHT + NUMBERED + PLACED[case]), IMAGE, (size,))
    assert told.startswith("node 'm_node' (Mul) depends on the size of the batch")


def test_images_that_larger_batches_alone_mix_are_found() -> None:
    model = made(BRIGHT + NUMBERED + EVERY_OTHER)
    assert not mixing(model, IMAGE, (2,))
    assert mixing(model, IMAGE, BATCHES) == "node 'm_node' (Gather) reads several images of a batch"


@pytest.mark.parametrize("case", MIXED)
def test_a_batch_of_one_size_is_asked_too(case: str) -> None:
    two = replace(IMAGE, shape=(2, *SHAPE[1:]))
    whole = [om.node("Expand", "m whole", "y")]
    told = mixing(made(BRIGHT + MIXED[case] + whole, "y", 2), two, (2,))
    assert told.startswith("node 'm_node' (")
    for apart in ("convolutions", "rows of all images"):
        assert not mixing(made(APART[apart], batch=2), two, (2,))


@pytest.mark.parametrize("case", APART)
def test_images_that_are_computed_apart_are_not_said_to_be_mixed(case: str) -> None:
    assert not mixing(made(APART[case]), IMAGE, (2, 5))


def test_a_graph_for_single_images_has_no_batch_to_mix() -> None:
    single = [om.node("Reshape", "x one", "m")]
    model = om.model(
        single,
        inputs={"x": ("batch", *SHAPE[1:])},
        outputs={"m": None},
        weights={"one": np.array(SHAPE)},
    )
    assert not mixing(model, IMAGE, (2,))


def test_a_class_that_depends_on_the_batch_has_no_certificate(tmp_path: Path) -> None:
    nodes = [
        *BRIGHT,
        *MIXED["maximum"],
        om.node("Sub", "m bright", "others"),
        om.node("Flatten", "others", "flat"),
        om.node("Gemm", "flat two half", "y"),
    ]
    path = om.saved(tmp_path, made(nodes, "y"))
    dark, white = np.full(SHAPE, 0.3, np.float32), np.ones(SHAPE, np.float32)
    session = onnxruntime.InferenceSession(path)
    (alone,) = session.run(None, {"x": dark})
    (together,) = session.run(None, {"x": np.concatenate([dark, white])})
    assert (alone[0].argmax(), together[0].argmax()) == (0, 1)
    with pytest.raises(UnsupportedOperatorError, match=r"'m_node' \(ReduceMax\) reads several"):
        Prover.of(load_classifier(path))


def test_the_same_class_alone_has_one_where_the_file_takes_one_image(tmp_path: Path) -> None:
    nodes = [*BRIGHT, om.node("Flatten", "bright", "flat"), om.node("Gemm", "flat two half", "y")]
    model = om.model(nodes, inputs={"x": SHAPE}, outputs={"y": None}, weights=WEIGHTS)
    prover = Prover.of(load_classifier(om.saved(tmp_path, model)))
    assert prover.decide(torch.full(SHAPE[1:], 0.3), 0, Ball(Norm.LINF, 0.1)).proved


def test_a_fixed_batch_whose_images_are_mixed_has_no_certificate(tmp_path: Path) -> None:
    """In each call robcert fills it with copies of one image."""
    nodes = [
        *BRIGHT,
        *MIXED["maximum"],
        om.node("Expand", "m whole", "both"),
        om.node("Sub", "both bright", "others"),
        om.node("Flatten", "others", "flat"),
        om.node("Gemm", "flat two half", "y"),
    ]
    path = om.saved(tmp_path, made(nodes, "y", 2))
    dark, white = np.full(SHAPE, 0.3, np.float32), np.ones(SHAPE, np.float32)
    (scores,) = onnxruntime.InferenceSession(path).run(None, {"x": np.concatenate([dark, white])})
    classifier = load_classifier(path)
    assert classifier.runtime.one_by_one
    assert int(classifier.logits(torch.from_numpy(dark)).argmax()) == 0 != int(scores[0].argmax())
    with pytest.raises(UnsupportedOperatorError, match=r"'m_node' \(ReduceMax\) reads several"):
        Prover.of(classifier)
