"""Certificates of real models against attacks and verdicts of the verification competition."""

from __future__ import annotations

import csv
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from places import ROOT

from robcert.certify.attacks import PgdConfig, pgd
from robcert.certify.attacks.gradient.apgd import ApgdConfig, apgd
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.errors import RobcertError, UnsupportedOperatorError
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.model import PreprocessOptions
from robcert.certify.verification import Arithmetic, Prover

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from robcert.certify.model import Classifier

FIXTURES = ROOT / "fixtures"

SECONDS = 1.0
"""Time for the proof of one verdict."""

BUDGETS = {Norm.LINF: 0.05, Norm.L2: 0.5, Norm.L1: 2.0}
"""Radii at which attacks begin."""

SLACK = 1e-6
"""Distance in float32 of an image that was meant to lie on the sphere."""


def opened(zoo: Path, file: str) -> Classifier:
    entries: list[dict[str, Any]] = json.loads((zoo / "zoo.json").read_text(encoding="utf-8"))
    how = next(entry["preprocess"] for entry in entries if entry["file"] == file)
    options = LoadOptions()
    if how:
        options = LoadOptions(preprocess=PreprocessOptions.from_json(json.dumps(how), source=file))
    return load_classifier(zoo / "models" / file, options)


def pixels(image: np.ndarray) -> Tensor:
    """Bytes or numbers ``(h, w, c)`` as an image ``(c, h, w)``."""
    found = torch.from_numpy(image).float().permute(2, 0, 1)
    return found / 255 if image.dtype == np.uint8 else found


def attacked(classifier: Classifier, batch: Batch, norm: Norm) -> Tensor:
    """Distance of the nearest adversarial image found by PGD and APGD; inf without one."""
    best = torch.full((len(batch.x),), torch.inf, dtype=torch.float64)
    for factor in (0.1, 0.4, 1.0):
        ball = Ball(norm, BUDGETS[norm] * factor)
        for found in (
            pgd(classifier, batch, ball, PgdConfig(30, restarts=2)),
            apgd(classifier, batch, ball, ApgdConfig(steps=30, targets=3)),
        ):
            best = torch.minimum(best, found.distance.double())
    return best


def check_bracket(classifier: Classifier, x: Tensor, norm: Norm, seconds: float) -> int:
    """Assert certified < attacked for images; returns how many have a certificate."""
    batch = Batch(np.arange(len(x)), x, classifier.logits(x).argmax(1))
    distances = attacked(classifier, batch, norm)
    certified = 0
    for arithmetic in Arithmetic:
        prover = Prover.of(classifier, arithmetic)
        for image, y, distance in zip(x, batch.y.tolist(), distances.tolist(), strict=True):
            found = prover.largest_radius(
                image, y, norm, limit=BUDGETS[norm], deadline=time.monotonic() + seconds
            )
            assert found.radius < distance + SLACK
            certified += found.radius > 0
            if distance < np.inf:
                beyond = Ball(norm, distance + SLACK)
                answer = prover.decide(image, y, beyond, deadline=time.monotonic() + seconds / 2)
                assert not answer.proved
    return certified


def test_certified_radii_of_a_bundled_model_lie_below_attacked_ones() -> None:
    classifier = load_classifier(FIXTURES / "fashion-honest.onnx")
    with np.load(FIXTURES / "fashion-mnist-2000.npz") as data:
        x = torch.stack([pixels(image) for image in data["images"][:2]])
    assert check_bracket(classifier, x, Norm.LINF, 0.5) > 0


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", ["fashion-honest", "fashion-masked", "fashion-gaussian"])
def test_certified_radii_of_bundled_models_lie_below_attacked_ones(name: str, norm: Norm) -> None:
    classifier = load_classifier(FIXTURES / f"{name}.onnx")
    with np.load(FIXTURES / "fashion-mnist-2000.npz") as data:
        x = torch.stack([pixels(image) for image in data["images"][10:16]])
    check_bracket(classifier, x, norm, 2.0)


ZOO = [
    "cifar_base_kw",
    "cora_mnist_point",
    "cora_mnist_set",
    "gtsrb_bnn_30x30",
    "marabou_cifar10_small",
    "mlperf_resnet8_keras_op18",
    "mlperf_resnet8_qdq",
    "mnist-net_256x2",
    "mnist_cntk",
    "mnist_convnet_maxpool",
    "mnist_keras2onnx_lg",
    "mnist_tf2onnx_fisakhan",
    "fashion_simplecnn",
    "resnet_2b",
    "resnet20_onnc",
    "sri_resnet_a",
    "tinymobilenet_cifar10",
    "vit_pgd_2_3_16",
]


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", ZOO)
def test_certified_radii_of_other_models_lie_below_attacked_ones(
    zoo: Path, name: str, norm: Norm
) -> None:
    classifier = opened(zoo, f"{name}.onnx")
    try:
        Prover.of(classifier)
    except UnsupportedOperatorError as error:
        pytest.skip(str(error))
    c, h, w = classifier.image_shape
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(2, c, h, w, generator=draws)
    sets = {(1, 28, 28): "mnist", (3, 32, 32): "cifar10"}
    if (c, h, w) in sets:
        with np.load(zoo / "data" / "vnncomp_images.npz") as images:
            x = torch.stack([pixels(row) for row in images[sets[c, h, w]][:2]])
    check_bracket(classifier, x, norm, 1.0)


def refuted(zoo: Path) -> dict[str, list[dict[str, str]]]:
    """Verdicts with a counterexample, by model; one with a target refutes robustness as well."""
    found: dict[str, list[dict[str, str]]] = {}
    with (zoo / "truth.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["truth"] == "sat":
                found.setdefault(row["model"], []).append(row)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_statements_with_a_known_counterexample_are_never_proved(
    zoo: Path, arithmetic: Arithmetic
) -> None:
    wrong, tried = [], 0
    with np.load(zoo / "data" / "vnncomp_images.npz") as images:
        for model, rows in refuted(zoo).items():
            classifier = opened(zoo, model)
            try:
                prover = Prover.of(classifier, arithmetic)
            except RobcertError:
                continue
            for row in rows:
                x = pixels(images[row["image_set"]][int(row["image_row"])])
                ball = Ball(Norm.LINF, float(row["eps_linf"]))
                found = prover.decide(
                    x, int(row["label"]), ball, deadline=time.monotonic() + SECONDS
                )
                tried += 1
                wrong += [row["id"]] if found.proved else []
    assert not wrong
    assert tried >= 80
