"""Certificates in float32 of a runtime that computes another function than the file states."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import pytest
from onnx import TensorProto

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_classifier
from robcert.certify.verification.outcome import Arithmetic
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from robcert.certify.model import Classifier

OFF: dict[str, Callable[[Tensor], Tensor]] = {
    "everywhere": lambda x: 1e-4 + 0 * x.flatten(1)[:, :1],
    "on dark images": lambda x: 1e-4 * (x.flatten(1).sum(1, keepdim=True) == 0),
    "on images of low contrast": lambda x: 1e-4 * (x.flatten(1).std(1, keepdim=True) < 0.1),
}


def opened(folder: Path, *, softmax: bool = False) -> Classifier:
    tail = [om.node("Softmax", "logits", "out", axis=1)] if softmax else []
    made = om.linear(("batch", 3, 4, 4), tail=tail)
    return load_classifier(om.saved(folder, made))


@pytest.mark.parametrize("name", OFF)
def test_a_runtime_with_other_scores_has_none(tmp_path: Path, name: str) -> None:
    classifier = opened(tmp_path)
    own, off = classifier.runtime.logits, OFF[name]
    other = replace(classifier.runtime, logits=lambda x: own(x) + off(x))
    changed = replace(classifier, runtime=other)
    with pytest.raises(UnsupportedOperatorError, match="other scores than the file states"):
        Prover.of(changed)
    Prover.of(changed, Arithmetic.REAL)


def test_an_executed_graph_of_another_function_has_none(tmp_path: Path) -> None:
    classifier = opened(tmp_path)
    told = "the runtime computes other numbers than node 'pool' (MaxPool)"
    other = replace(classifier.runtime, rewritten=lambda: told)
    changed = replace(classifier, runtime=other)
    with pytest.raises(UnsupportedOperatorError, match=r"than node 'pool' \(MaxPool\)") as raised:
        Prover.of(changed)
    assert "--arithmetic real" in raised.value.hint
    Prover.of(changed, Arithmetic.REAL)


@pytest.mark.parametrize("softmax", [True, False])
def test_the_file_s_own_scores_have_one(tmp_path: Path, softmax: bool) -> None:
    Prover.of(opened(tmp_path, softmax=softmax))


def test_images_on_which_the_runtime_fails_are_left_out(tmp_path: Path) -> None:
    classifier = opened(tmp_path)
    own = classifier.runtime.logits

    def failing(x: Tensor) -> Tensor:
        if bool((x.flatten(1).std(1) < 1e-6).any()):
            message = "no contrast"
            raise RuntimeError(message)
        return own(x)

    Prover.of(replace(classifier, runtime=replace(classifier.runtime, logits=failing)))


def test_pixels_of_an_integer_input_are_compared_on_its_levels(tmp_path: Path) -> None:
    nodes = [
        om.node("Cast", "x", "f", to=TensorProto.FLOAT),
        om.node("Flatten", "f", "flat"),
        om.node("MatMul", "flat w", "y"),
    ]
    made = om.model(
        nodes,
        inputs={"x": (1, 3, 4, 4)},
        outputs={"y": None},
        weights={"w": (om.weights(5, 48) / 255).astype(np.float32)},
        types={"x": TensorProto.UINT8},
    )
    Prover.of(load_classifier(om.saved(tmp_path, made)))
