"""Verdicts on trained networks: the bundled ones, and third-party ones where they are at hand."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robcert.certify.data.arrays import from_arrays
from robcert.certify.data.load import load_images
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.masking.analysis import analyse
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.sources import bundled_sources
from robcert.certify.masking.summary import MaskingSummary, summarise
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.model.preprocessing import PreprocessOptions
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.model.classifier import Classifier

pytestmark = pytest.mark.slow


def checked(
    classifier: Classifier, images: ImageSet, folder: Path, *, epsilon: float, limit: int = 40
) -> MaskingSummary:
    settings = replace(MaskingSettings.of_profile("quick"), epsilon=epsilon)
    indices = np.arange(min(limit, len(images)))
    with ResultStore.open(folder / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, indices, store)
        return summarise(store, analyse(session, settings))


def bundled(name: str) -> Classifier:
    with resources.as_file(resources.files("robcert.fixtures") / name) as path:
        return load_classifier(path, LoadOptions(device="cpu", threads=1))


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("fashion-honest.onnx", MaskingVerdict.CLEAR),
        ("fashion-gaussian.onnx", MaskingVerdict.CLEAR),
        ("fashion-masked.onnx", MaskingVerdict.MASKED),
    ],
)
def test_bundled_models(name: str, verdict: MaskingVerdict, tmp_path: Path) -> None:
    classifier = bundled(name)
    sources = [source.info.file for source in bundled_sources(classifier)]
    assert sources
    assert not any(name in source for source in sources)
    summary = checked(classifier, load_images("fashion-mnist-2000"), tmp_path, epsilon=8 / 255)
    assert summary.verdict is verdict, summary.reason
    tried = {remedy.name: remedy for remedy in summary.remedies}
    assert tried["transfer from other models"].robust.n == 40
    if verdict is MaskingVerdict.MASKED:
        assert summary.corrected.value < summary.naive.value - 0.5
        assert tried["margin loss"].gets_through


def of_zoo(zoo: Path, name: str, images: ImageSet) -> Classifier:
    entry = next(e for e in json.loads((zoo / "zoo.json").read_text()) if e["file"] == name)
    known = PreprocessOptions.from_json(json.dumps(entry["preprocess"]), source="zoo.json")
    path = zoo / "models" / name
    return load_classifier(
        path, LoadOptions(preprocess=known, device="cpu", threads=1), images=images
    )


@pytest.mark.parametrize("name", ["resnet_2b.onnx", "cifar_base_kw.onnx"])
def test_robust_third_party_networks_are_clear(zoo: Path, name: str, tmp_path: Path) -> None:
    images = load_images(str(zoo / "data" / "cifar10_test.npz"))
    summary = checked(of_zoo(zoo, name, images), images, tmp_path, epsilon=2 / 255)
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason
    assert summary.corrected.value > 0.5


def test_a_binarised_network_is_suspect_for_its_gradients(zoo: Path, tmp_path: Path) -> None:
    pixels = np.load(zoo / "data" / "vnncomp_images.npz")["gtsrb30"]
    truth = (zoo / "truth.csv").read_text().splitlines()
    rows = [line.split(",") for line in truth if "gtsrb_bnn_30x30" in line]
    labels = {int(row[3]): int(row[4]) for row in rows}
    images = from_arrays("signs", pixels, np.array([labels[i] for i in range(len(pixels))]))
    classifier = of_zoo(zoo, "gtsrb_bnn_30x30.onnx", images)
    summary = checked(classifier, images, tmp_path, epsilon=3 / 255)
    assert summary.verdict in {MaskingVerdict.SUSPECT, MaskingVerdict.MASKED}
    assert "vanishing_gradient_margin" in summary.reason or summary.verdict is MaskingVerdict.MASKED
