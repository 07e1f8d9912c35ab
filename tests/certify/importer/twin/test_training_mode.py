from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper
from onnx_models import images, model, node, saved, weights

from robcert.certify.importer.graph.facts import GraphFacts
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.importer.twin.training_mode import listed, without_dropout

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from robcert.certify.model.classifier import Classifier

RATIO = {"w": weights(5, 48), "ratio": np.array(0.5, np.float32)}


def loaded(folder: Path, made: ModelProto) -> Classifier:
    return load_classifier(
        saved(folder, made), LoadOptions(device="cpu", threads=1), images=images()
    )


def dropout(*tail: object, mode: bool = True) -> ModelProto:
    """Logits = flattened input, dropped in training mode, times ``weights``."""
    flag = numpy_helper.from_array(np.array(mode))
    return model(
        [
            helper.make_node("Constant", [], ["on"], value=flag),
            node("Flatten", "x", "flat"),
            node("Dropout", "flat ratio on", "kept"),
            node("MatMul", "kept w", "logits"),
            *tail,  # type: ignore[list-item]
        ],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"out" if tail else "logits": None},
        weights=RATIO,
    )


@pytest.mark.parametrize(
    "tail", [(), (node("Softmax", "logits", "out"),)], ids=["plain", "softmax"]
)
def test_dropout_that_the_runtime_ignores_is_ignored(tmp_path: Path, tail: tuple[object]) -> None:
    classifier = loaded(tmp_path, dropout(*tail))
    assert classifier.differentiable, classifier.info.twin_unavailable
    x = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    expected = x.flatten(1) @ torch.from_numpy(weights(5, 48))
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(classifier.twin_logits(x), expected, rtol=1e-5, atol=1e-4)
    assert classifier.twin is not None
    if classifier.twin.declared is not None:
        torch.testing.assert_close(classifier.twin.declared(x), expected.softmax(1))
    note = "Dropout left in training mode, which the runtime ignores: kept_node"
    assert note in classifier.info.notes
    assert classifier.info.hint_nodes == ()
    assert not classifier.info.random


def test_dropout_that_is_off_is_no_note(tmp_path: Path) -> None:
    classifier = loaded(tmp_path, dropout(mode=False))
    assert classifier.differentiable
    assert not any("training mode" in note for note in classifier.info.notes)


def test_real_draws_are_not_taken_for_dropout(tmp_path: Path) -> None:
    made = dropout(node("RandomNormalLike", "logits", "e"), node("Add", "logits e", "out"))
    info = loaded(tmp_path, made).info
    assert info.random
    names = ["kept_node (Dropout)", "e_node (RandomNormalLike)"]
    assert sorted(map(str, info.hint_nodes)) == sorted(names)
    assert not any("Dropout" in note for note in info.notes)


@pytest.mark.parametrize(("opset", "outputs"), [(13, "n a b c d"), (17, "n a b")])
def test_statistics_of_the_batch_are_a_note_by_name(
    tmp_path: Path, opset: int, outputs: str
) -> None:
    # Before version 14 the number of outputs alone says it.
    told = {"training_mode": 1} if opset > 13 else {}
    ones, nil = np.ones(3, np.float32), np.zeros(3, np.float32)
    made = model(
        [
            node("BatchNormalization", "x one nil nil one", outputs, **told),
            node("Flatten", "n", "flat"),
            node("MatMul", "flat w", "logits"),
        ],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"logits": None},
        weights={"w": weights(5, 48), "one": ones, "nil": nil},
        opset=opset,
    )
    assert GraphFacts.of(made).normalised_by_batch == ("n_node",)
    classifier = loaded(tmp_path, made)
    assert classifier.differentiable, classifier.info.twin_unavailable
    (note,) = [note for note in classifier.info.notes if "training mode" in note]
    assert note.startswith("BatchNormalization")
    assert note.endswith(": n_node")


def test_the_model_itself_keeps_its_dropout() -> None:
    made = dropout()
    assert [list(n.input) for n in without_dropout(made).graph.node if n.op_type == "Dropout"] == [
        ["flat", "ratio"]
    ]
    assert len(made.graph.node[2].input) == 3


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
