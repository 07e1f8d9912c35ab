"""Third-party models, each with what is known of it in zoo.json."""

from __future__ import annotations

import json
import os
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from places import ROOT

from robcert.certify.auditing.inspection import inspect_model
from robcert.certify.data.load import from_arrays, load_images
from robcert.certify.errors import AmbiguousOutputError, RobcertError
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.model.preprocessing import PreprocessOptions
from robcert.certify.numerics.gradients import value_and_gradient

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.model.classifier import Classifier

FOLDER = Path(os.environ.get("ROBCERT_ZOO", ROOT.parent / "shared" / "zoo"))
TABLE = FOLDER / "zoo.json"
ENTRIES: list[dict[str, Any]] = json.loads(TABLE.read_text()) if TABLE.is_file() else []
SETS = {
    "cifar10": "cifar10_test.npz",
    "mnist": "mnist_test.npz",
    "imagenet": "imagenet_foolbox20.npz",
    "fashion": "fashion-mnist",
}
IMAGES = 200


def entries(expect: str) -> list[Any]:
    found = [entry for entry in ENTRIES if entry["expect"] == expect]
    return [
        pytest.param(entry, id=entry["file"], marks=[pytest.mark.slow] if expect == "twin" else [])
        for entry in found
    ]


@cache
def image_set(name: str) -> ImageSet:
    return load_images(FOLDER / "data" / SETS[name])


def entry_of(file: str) -> dict[str, Any]:
    return next(entry for entry in ENTRIES if entry["file"] == file)


def loaded(zoo: Path, entry: dict[str, Any], **options: Any) -> Classifier:
    said = entry["preprocess"]
    preprocess = said and PreprocessOptions.from_json(json.dumps(said), source="zoo.json")
    images = image_set(entry["data"]) if entry["data"] in SETS else None
    how = LoadOptions(preprocess=preprocess or PreprocessOptions(), device="cpu", **options)
    return load_classifier(zoo / "models" / entry["file"], how, images=images)


@pytest.mark.parametrize("entry", entries("twin"))
def test_a_twin_and_the_accuracy_that_is_known(zoo: Path, entry: dict[str, Any]) -> None:
    classifier = loaded(zoo, entry)
    assert classifier.differentiable, classifier.info.twin_unavailable
    if entry["accuracy"] is None:
        return
    images = image_set(entry["data"])
    indices = np.arange(min(entry["accuracy_images"], len(images)))
    if classifier.image_shape[1] > 100:
        indices = indices[:IMAGES]
    assert images.labels is not None
    right = [
        classifier.logits(images.pixels(part)).argmax(1).numpy() == images.labels[part]
        for part in np.array_split(indices, max(1, len(indices) // 100))
    ]
    assert np.concatenate(right).mean() == pytest.approx(entry["accuracy"], abs=0.01)


@pytest.mark.parametrize("entry", entries("refuse"))
def test_a_refusal_names_the_cause(zoo: Path, entry: dict[str, Any]) -> None:
    words = {
        "mnist_qonnx_tfc_2w2a.onnx": ("onnx.brevitas", "Quant"),
        "corrupt_truncated.onnx": ("truncated",),
        "lfs_pointer_mnist-12.onnx": ("Git LFS pointer",),
        "swiftinfer_cifar10_extdata.onnx": ("cifar10.onnx.data", "missing"),
        "logreg_iris.onnx": ("not an image classifier", "no float tensor of class scores"),
        "cifar_biasfield_0.onnx": ("vector of 16 numbers", "not an image"),
    }
    with pytest.raises(RobcertError) as caught:
        loaded(zoo, entry)
    assert "\n" not in str(caught.value)
    for word in words.get(entry["file"], ()):
        assert word in str(caught.value)


def test_a_vector_of_16_numbers_does_not_fit_images(zoo: Path) -> None:
    entry = {**entry_of("cifar_biasfield_0.onnx"), "data": "cifar10"}
    with pytest.raises(RobcertError, match="vector of 16 numbers, not an image of the data given"):
        loaded(zoo, entry)


def test_labels_as_an_input_are_pruned_once_the_scores_are_named(zoo: Path) -> None:
    entry = {**entry_of("mnist_tf1_two_inputs.onnx"), "data": "mnist"}
    with pytest.raises(RobcertError, match=r"'accuracy:0' depends on 2: y_:0 .* x:0") as caught:
        loaded(zoo, entry)
    assert "add_2:0" in caught.value.hint
    classifier = loaded(zoo, entry, output="add_2:0")
    images = image_set("mnist")
    assert images.labels is not None
    part = np.arange(IMAGES)
    predicted = classifier.logits(images.pixels(part)).argmax(1).numpy()
    assert (predicted == images.labels[part]).mean() > 0.95


def test_five_heads_are_named_and_one_is_inspected(zoo: Path) -> None:
    entry = entry_of("vietcombank_captcha.onnx")
    with pytest.raises(AmbiguousOutputError, match="digit_0, digit_1, digit_2, digit_3, digit_4"):
        loaded(zoo, entry)
    options = LoadOptions(output="digit_3", device="cpu")
    found = inspect_model(zoo / "models" / entry["file"], options).to_json()
    assert (found["output"]["name"], found["output"]["classes"]) == ("digit_3", 10)
    assert found["twin"]["available"]
    assert found["input"]["image"] == [3, 50, 155]


@pytest.mark.slow
def test_a_binarised_model_has_a_zero_gradient_and_a_stand_in(zoo: Path) -> None:
    with np.load(zoo / "data" / "vnncomp_images.npz") as stored:
        images = from_arrays("gtsrb", stored["gtsrb30"])
    classifier = loaded(zoo, entry_of("gtsrb_bnn_30x30.onnx"))
    x = images.pixels(np.arange(3))

    def squares(at: Tensor, *, straight_through: bool) -> Tensor:
        return classifier.twin_logits(at, straight_through=straight_through).square().sum(1)

    assert not value_and_gradient(partial(squares, straight_through=False), x)[1].any()
    assert value_and_gradient(partial(squares, straight_through=True), x)[1].any()
    assert classifier.info.straight_through
