"""Attacks on networks of signs: within a small radius only units near their threshold change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx_models import model, node, saved

from robcert.certify.attacks.gradient.pgd import PgdConfig, pgd
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.importer.load import load_classifier

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model.classifier import Classifier

NEAR, FAR = 0.02, 0.3


def two_units_a_pixel(folder: Path) -> Classifier:
    """Logits 0 and the sum over 16 pixels p of sign(p - t) - 6 sign(p - s), minus 104.

    The thresholds t and s lie above 0.5 by ``NEAR`` and by ``FAR``. At p = 0.5 the sum is 80;
    raising all pixels to between t and s makes it 112, raising them further lowers it.
    """
    thresholds = np.array([0.5 + NEAR, 0.5 + FAR], np.float32).reshape(1, 2, 1, 1)
    made = model(
        [
            node("Sub", "x t", "above"),
            node("Sign", "above", "signs"),
            node("Flatten", "signs", "units"),
            node("Gemm", "units w b", "scores"),
        ],
        inputs={"x": ("n", 1, 4, 4)},
        outputs={"scores": ("n", 2)},
        weights={
            "t": thresholds,
            "w": np.stack([np.zeros(32), np.repeat([1, -6], 16)], axis=1).astype(np.float32),
            "b": np.array([0, -104], np.float32),
        },
    )
    return load_classifier(saved(folder, made))


@pytest.mark.parametrize("seed", range(3))
def test_units_within_reach_outweigh_those_beyond(tmp_path: Path, seed: int) -> None:
    classifier = two_units_a_pixel(tmp_path)
    batch = Batch(np.arange(2), torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64))
    found = pgd(classifier, batch, Ball(Norm.LINF, 2 * NEAR), PgdConfig(10), seed=seed)
    assert found.found.all()
