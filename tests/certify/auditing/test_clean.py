"""Clean predictions: closed forms of a linear model, and rows that know nothing of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from robcert.certify.auditing import clean
from robcert.certify.data.load import ImageSet, from_arrays
from robcert.certify.errors import DataError
from robcert.certify.model.classifier import Classifier
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 8, 8), np.uint8)
LABELS = np.arange(50) % 3


def network() -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 3)
    )
    return Classifier.from_module(module, image_shape=(1, 8, 8), num_classes=3)


def run(
    path: Path,
    indices: NDArray[np.int64],
    *,
    batch_size: int = 64,
    images: ImageSet | None = None,
    classifier: Classifier | None = None,
) -> dict[str, NDArray[np.float64]]:
    images = images or from_arrays("noise", PIXELS, LABELS)
    classifier = classifier or network()
    with ResultStore.open(path, model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, indices, store, batch_size=batch_size)
        group = store.at(clean.analyse(session))
        assert group.complete
        return {name: group.column(name, np.sort(indices)) for name in group.columns}


def test_a_linear_model_has_the_margins_of_its_matrix(tmp_path: Path) -> None:
    layer = nn.Linear(64, 3)
    module = nn.Sequential(nn.Flatten(), layer)
    classifier = Classifier.from_module(module, image_shape=(1, 8, 8), num_classes=3)
    weight, bias = layer.weight.double().numpy(), layer.bias.double().numpy()
    logits = PIXELS.reshape(50, 64) / 255 @ weight.T + bias
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    own = np.arange(50), LABELS

    def margin(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        others = scores.copy()
        others[own] = -np.inf
        return scores[own] - others.max(1)

    columns = run(tmp_path / "r.h5", np.arange(50), classifier=classifier)
    assert columns["prediction"].tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(columns["logit_margin"], margin(logits), atol=1e-5)
    np.testing.assert_allclose(columns["probability_margin"], margin(probabilities), atol=1e-5)
    np.testing.assert_allclose(columns["confidence"], probabilities.max(1), atol=1e-5)
    np.testing.assert_allclose(columns["cross_entropy"], -np.log(probabilities[own]), atol=1e-5)
    with ResultStore.read(tmp_path / "r.h5") as store:
        summary = clean.summarise(store)
    assert summary.clean_accuracy is not None
    right = (logits.argmax(1) == LABELS).mean()
    assert summary.clean_accuracy.value == right
    assert summary.clean_accuracy.lower < right < summary.clean_accuracy.upper
    assert summary.mean_confidence == pytest.approx(probabilities.max(1).mean(), abs=1e-6)
    assert summary.to_json()["clean_accuracy"]["n"] == 50


def test_rows_depend_on_neither_batch_nor_order_nor_company(tmp_path: Path) -> None:
    every = np.arange(50)
    whole = run(tmp_path / "whole.h5", every)
    shuffled = np.random.default_rng(1).permutation(every)
    for batch_size in (1, 7, 50):
        other = run(tmp_path / f"{batch_size}.h5", shuffled, batch_size=batch_size)
        for name, values in whole.items():
            assert values.tobytes() == other[name].tobytes(), (batch_size, name)
    some = np.array([31, 4, 11])
    alone = run(tmp_path / "some.h5", some)
    for name, values in whole.items():
        assert values[np.sort(some)].tobytes() == alone[name].tobytes(), name


def test_a_later_run_adds_images_and_keeps_the_old_rows(tmp_path: Path) -> None:
    run(tmp_path / "r.h5", np.array([4, 9]))
    grown = run(tmp_path / "r.h5", np.arange(50))
    for name, values in run(tmp_path / "whole.h5", np.arange(50)).items():
        assert values.tobytes() == grown[name].tobytes(), name
    run(tmp_path / "r.h5", np.array([7]))
    with ResultStore.read(tmp_path / "r.h5") as store:
        assert clean.summarise(store).images == 1
        assert store.at("clean").computed().all()


def test_images_without_labels_are_judged_by_the_models_own_prediction(tmp_path: Path) -> None:
    images = from_arrays("noise", PIXELS)
    columns = run(tmp_path / "r.h5", np.arange(50), images=images)
    assert (columns["logit_margin"] >= 0).all()
    np.testing.assert_allclose(columns["cross_entropy"], -np.log(columns["confidence"]))
    with ResultStore.read(tmp_path / "r.h5") as store:
        assert clean.summarise(store).clean_accuracy is None


def test_images_of_another_shape_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1x5x8"):
        run(tmp_path / "r.h5", np.arange(50), images=from_arrays("noise", PIXELS[:, :5], LABELS))
    assert list(tmp_path.iterdir()) == []
