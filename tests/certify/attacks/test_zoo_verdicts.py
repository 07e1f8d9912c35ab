"""Third-party verdicts: nothing may be found inside a proven radius, and witnesses should be."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from robcert.certify.attacks import suites
from robcert.certify.attacks.search.state import SearchState
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.core import Batch, Norm
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.model.preprocessing import PreprocessOptions

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model.classifier import Classifier

SLOW = [
    "cifar_base_kw.onnx",
    "mnist_convnet_maxpool.onnx",
    "sri_resnet_a.onnx",
    "mnist-net_256x2.onnx",
    "vit_pgd_2_3_16.onnx",
]


def verdicts(zoo: Path, model: str) -> list[dict[str, str]]:
    with (zoo / "truth.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["model"] == model]
    return [row for row in rows if row["property"] == "untargeted"]


def classifier_of(zoo: Path, model: str) -> Classifier:
    entry = next(e for e in json.loads((zoo / "zoo.json").read_text()) if e["file"] == model)
    known = PreprocessOptions.from_json(json.dumps(entry["preprocess"]), source="zoo.json")
    return load_classifier(zoo / "models" / model, LoadOptions(preprocess=known, threads=1))


def batch_of(zoo: Path, rows: list[dict[str, str]]) -> Batch:
    labels = {int(row["image_row"]): int(row["label"]) for row in rows}
    images = np.load(zoo / "data" / "vnncomp_images.npz")[rows[0]["image_set"]][list(labels)]
    pixels = images if images.ndim == 4 else images[..., None]
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return Batch(np.array(list(labels)), x, torch.tensor(list(labels.values())))


@pytest.mark.parametrize(
    ("model", "suite"),
    [
        ("cora_mnist_point.onnx", Suite.QUICK),
        *[pytest.param(model, Suite.STANDARD, marks=pytest.mark.slow) for model in SLOW],
    ],
)
def test_distances_agree_with_the_verdicts(zoo: Path, model: str, suite: Suite) -> None:
    rows = verdicts(zoo, model)
    classifier, batch = classifier_of(zoo, model), batch_of(zoo, rows)
    state = SearchState(classifier, batch, Norm.LINF)
    names = suites.attacks_of(suite, (), Norm.LINF, differentiable=True)
    suites.run(state, names, BUDGETS[suite])
    distance = dict(zip(batch.index.tolist(), state.distance.tolist(), strict=True))
    proven = [row for row in rows if row["truth"] == "unsat"]
    broken = [row for row in rows if row["truth"] == "sat"]
    # the file gives the radius to six decimals
    assert all(distance[int(row["image_row"])] > float(row["eps_linf"]) - 1e-6 for row in proven)
    found = [distance[int(row["image_row"])] <= float(row["eps_linf"]) + 1e-6 for row in broken]
    assert np.mean(found) >= 0.9 if found else proven
