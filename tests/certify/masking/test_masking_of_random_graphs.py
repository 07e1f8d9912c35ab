"""ONNX graphs that draw: the same image gets other answers, so attacks follow the average.

The runtime's draws cannot be seeded, so the margins are many times the noise: class 1 has the sum
of 48 pixels minus 24, about 4.8, which falls by 48 epsilon.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_models import model, node, saved

from robcert.certify.data.arrays import from_arrays
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.masking.analysis import analyse
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.summary import MaskingSummary, summarise
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto, NodeProto

    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.model.classifier import Classifier

N = 20
SETTINGS = MaskingSettings(
    steps=5,
    restarts=1,
    targets=1,
    unbounded_steps=6,
    noise_draws=5,
    queries=20,
    decision_queries=0,
    strengths=(2.0,),
    noisy_copies=2,
    surrogate_queries=400,
    draws=4,
)
SUM = np.stack([np.zeros(48), np.ones(48)], 1).astype(np.float32)


def graph(
    before: tuple[NodeProto, ...] = (),
    after: tuple[NodeProto, ...] = (),
    *,
    into: str = "flat",
    out: str = "logits",
) -> ModelProto:
    """Two logits, 0 and the sum of ``into`` minus 24."""
    return model(
        [
            node("Flatten", "x", "flat"),
            *before,
            node("MatMul", f"{into} w", "score"),
            node("Add", "score b", "logits"),
            *after,
        ],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={out: None},
        weights={
            "w": SUM,
            "b": np.array([0, -24], np.float32),
            "none": np.array(0, np.float32),
            "half": np.array(0.5, np.float32),
            "size": np.array(0.2, np.float32),
            "ratio": np.array(0.5, np.float32),
            "axis": np.array([1], np.int64),
            "two": np.array(2, np.int64),
            "values": np.array([0, 1], np.float32),
        },
    )


ADDED_NOISE = {
    "RandomNormalLike": graph(
        (node("RandomNormalLike", "flat", "e", scale=0.05), node("Add", "flat e", "seen")),
        into="seen",
    ),
    "RandomUniformLike": graph(
        (node("RandomUniformLike", "flat", "e", low=-0.1, high=0.1), node("Add", "flat e", "seen")),
        into="seen",
    ),
    "Bernoulli": graph(
        (
            node("Mul", "flat none", "nothing"),
            node("Add", "nothing half", "chance"),
            node("Bernoulli", "chance", "coin"),
            node("Sub", "coin half", "side"),
            node("Mul", "side size", "step"),
            node("Add", "flat step", "seen"),
        ),
        into="seen",
    ),
}
DRAWN_CLASS = graph(
    after=(
        node("Multinomial", "logits", "drawn", dtype=7, sample_size=1),
        node("Squeeze", "drawn axis", "class"),
        node("OneHot", "class two values", "out"),
    ),
    out="out",
)
ALWAYS = helper.make_node("Constant", [], ["on"], value=numpy_helper.from_array(np.array(True)))
DROPOUT = graph((ALWAYS, node("Dropout", "flat ratio on", "seen")), into="seen")


def images() -> ImageSet:
    pixels = 0.55 + 0.1 * np.random.default_rng(0).random((N, 4, 4, 3), dtype=np.float32)
    return from_arrays("grey", pixels, np.ones(N, np.int64))


def loaded(made: ModelProto, folder: Path) -> Classifier:
    return load_classifier(
        saved(folder, made), LoadOptions(device="cpu", threads=1), images=images()
    )


def checked(classifier: Classifier, folder: Path, epsilon: float) -> MaskingSummary:
    seen = images()
    path = folder / f"{epsilon}.h5"
    with ResultStore.open(path, model=classifier.info, data=seen.info) as store:
        session = Session(classifier, seen, np.arange(N), store)
        return summarise(store, analyse(session, replace(SETTINGS, epsilon=epsilon)))


def flagged(summary: MaskingSummary) -> set[str]:
    return {one.name for one in summary.indicators if one.flagged}


@pytest.mark.parametrize("operator", list(ADDED_NOISE))
def test_averaged_attacks_break_a_graph_with_noise(operator: str, tmp_path: Path) -> None:
    classifier = loaded(ADDED_NOISE[operator], tmp_path)
    assert classifier.info.random
    assert classifier.differentiable
    assert any(node.operator == operator for node in classifier.info.hint_nodes)
    near = checked(classifier, tmp_path, 0.15)
    assert near.corrected.value < 0.02
    assert near.verdict is MaskingVerdict.CLEAR, near.reason
    assert near.by_chance is not None
    assert "answers_differ" in flagged(near)
    # what two draws say of one image is no disagreement of twin and runtime
    assert not {"twin_disagrees", "gradient_is_no_slope"} & flagged(near)


def test_no_lucky_draw_counts(tmp_path: Path) -> None:
    summary = checked(loaded(ADDED_NOISE["RandomNormalLike"], tmp_path), tmp_path, 0.002)
    assert summary.corrected.value == 1, summary.reason
    assert summary.verdict is MaskingVerdict.CLEAR


def test_a_graph_that_draws_its_class_is_masked_for_only_others_lead_to_it(tmp_path: Path) -> None:
    classifier = loaded(DRAWN_CLASS, tmp_path)
    assert classifier.info.random
    summary = checked(classifier, tmp_path, 0.15)
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert {"vanishing_gradient_margin", "transfer_beats_gradient"} <= flagged(summary)
    assert summary.naive.value > 0.9
    assert summary.corrected.value < 0.2  # the class is drawn: no image makes it certain


def test_dropout_in_training_mode_is_not_random_where_the_runtime_leaves_it_out(
    tmp_path: Path,
) -> None:
    classifier = loaded(DROPOUT, tmp_path)
    assert not classifier.info.random
    summary = checked(classifier, tmp_path, 0.15)
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason
    assert summary.corrected.value == 0
