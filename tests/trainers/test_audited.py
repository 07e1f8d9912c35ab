"""A checkpoint and its own ONNX export are one model to the analyses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stripes import stripes

from robcert.certify.attacks import analysis as attack
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.suites import Suite
from robcert.certify.auditing import clean
from robcert.certify.data.load import from_arrays
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.local_linearity import analysis as linearity
from robcert.certify.local_linearity.settings import LinearitySettings
from robcert.certify.session import Session
from robcert.certify.smoothing import analysis as smoothing
from robcert.certify.smoothing.settings import Mode, SmoothingSettings
from robcert.certify.store.store import ResultStore
from robcert.trainers.export import export_checkpoint
from robcert.trainers.loop.checkpoint import load_checkpoint
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import RunPlan
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.model.classifier import Classifier

Columns = dict[str, "NDArray[Any]"]


def audited(classifier: Classifier, file: Path) -> Columns:
    images = stripes(4, seed=2)
    data = from_arrays("stripes", images.pixels.numpy(), images.labels.numpy())
    indices = np.arange(4, dtype=np.int64)
    with ResultStore.open(file, model=classifier.info, data=data.info) as store:
        store.add_images(indices, images.labels.numpy())
        session = Session(classifier, data, indices, store)
        paths = {
            "clean": clean.analyse(session),
            "linearity": linearity.analyse(session, LinearitySettings(steps=5)),
            "attack": attack.analyse(session, AttackSettings(suite=Suite.QUICK, attacks=("pgd",))),
            "smoothing": smoothing.analyse(
                session, SmoothingSettings(sigma=0.1, n=500, mode=Mode.COHEN)
            ),
        }
        wanted = {
            "clean": ("logit_margin", "cross_entropy", "prediction"),
            "linearity": ("gamma", "gradient_dual_norm"),
            "attack": ("distance", "success"),
            "smoothing": ("top_count", "radius"),
        }
        return {
            f"{part}/{name}": store.at(paths[part]).column(name)
            for part, names in wanted.items()
            for name in names
        }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn4", "resnet-small"])
def test_rows_of_a_checkpoint_are_those_of_its_export(name: str, tmp_path: Path) -> None:
    config = TrainConfig(architecture=Architecture(name, width=4), epochs=4, batch_size=16)
    fit(RunPlan(replace(config, seed=1), stripes(128), stripes(32, seed=1), out=tmp_path / "run"))
    exported = load_classifier(export_checkpoint(tmp_path / "run"), LoadOptions(device="cpu"))
    ours = audited(load_checkpoint(tmp_path / "run"), tmp_path / "checkpoint.h5")
    theirs = audited(exported, tmp_path / "onnx.h5")
    for column, values in ours.items():
        np.testing.assert_allclose(values, theirs[column], rtol=5e-3, atol=1e-4, err_msg=column)
