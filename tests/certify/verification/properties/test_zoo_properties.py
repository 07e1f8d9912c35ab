"""Properties of the verification competition on models that nobody here made."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import vnnlib_files as vf
from places import ROOT

from robcert.certify.verification.properties import Answer, PropertySettings, check_property

FOLDER = Path(os.environ.get("ROBCERT_ZOO", ROOT.parent / "shared" / "zoo"))
TRUTH = FOLDER / "truth.csv"
MODEL = "mnist-net_256x2.onnx"


def rows(truth: str, count: int) -> list[dict[str, str]]:
    """The first verdicts of the model that are no mere agreement of other tools."""
    if not TRUTH.is_file():
        return []
    with TRUTH.open(encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if row["model"] == MODEL]
    sure = [row for row in found if row["truth"] == truth and "trusted" not in row["witness"]]
    return sure[:count]


def written(folder: Path, row: dict[str, str]) -> Path:
    """The property of a verdict, as the competition writes it."""
    with np.load(FOLDER / "data" / "vnncomp_images.npz") as images:
        pixels = images[row["image_set"]][int(row["image_row"])].reshape(-1) / 255
    epsilon, label = float(row["eps_linf"]), int(row["label"])
    bounds = [(max(p - epsilon, 0.0), min(p + epsilon, 1.0)) for p in pixels.tolist()]
    others = " ".join(f"(and (>= Y_{j} Y_{label}))" for j in range(10) if j != label)
    return vf.written(folder, vf.old_style(bounds, 10, f"(or {others})"))


@pytest.mark.parametrize("row", rows("sat", 3), ids=lambda row: row["id"])
def test_known_counterexamples_are_found(tmp_path: Path, row: dict[str, str]) -> None:
    summary = check_property(
        FOLDER / "models" / MODEL, written(tmp_path, row), PropertySettings(seconds=20)
    )
    assert summary.answer is Answer.VIOLATED
    assert summary.witness is not None
    assert summary.witness.exact


@pytest.mark.parametrize("row", rows("unsat", 3), ids=lambda row: row["id"])
def test_proven_properties_are_never_violated(tmp_path: Path, row: dict[str, str]) -> None:
    summary = check_property(
        FOLDER / "models" / MODEL, written(tmp_path, row), PropertySettings(seconds=10)
    )
    assert summary.answer not in {Answer.VIOLATED, Answer.WITHIN_TOLERANCE}
