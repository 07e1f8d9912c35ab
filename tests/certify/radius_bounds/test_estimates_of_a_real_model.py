"""Linearity and bounds of the bundled honest model: orders of magnitude, and what must agree."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from robcert.certify import local_linearity as linearity
from robcert.certify.core import Norm
from robcert.certify.data.load import load_images
from robcert.certify.importer.load import load_classifier
from robcert.certify.local_linearity.deviation import Sided
from robcert.certify.numerics.losses import Loss
from robcert.certify.radius_bounds import analysis as bounds
from robcert.certify.radius_bounds.settings import BoundsSettings
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore


@pytest.mark.slow
def test_estimates_of_the_bundled_model_agree_with_each_other(tmp_path: Path) -> None:
    """One file, both analyses; omega at epsilon is at least each image's own upper residual."""
    classifier = load_classifier(Path(str(files("robcert.fixtures") / "fashion-honest.onnx")))
    images = load_images("fashion-mnist-2000")
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        settings = BoundsSettings(blocks=30, block_size=10, points=5, steps=2, restarts=1)
        sampled = settings.blocks_of(images, 0).ravel()[:16]
        session = Session(classifier, images, sampled, store)
        path = bounds.analyse(session, settings)
        bound = bounds.summarise(store, path)
        upper = linearity.LinearitySettings(
            Norm.LINF, settings.epsilons[3], Loss.MARGIN, Sided.UPPER, steps=5
        )
        gamma = linearity.summarise(store, linearity.analyse(session, upper)).gamma
        radius, loss = store.at(path).column("omega_bound"), store.at(path).column("loss")
        slopes = store.at(path).column("gradient_norm")
    assert bound.complete
    assert bound.lipschitz is not None
    assert bound.lipschitz.max >= slopes.max() * (1 - 1e-5)
    assert all(entry.random < entry.fit.max for entry in bound.omega)
    omegas = [entry.fit.max for entry in bound.omega]
    assert omegas == sorted(omegas)
    assert 0.2 * gamma.max < omegas[3]
    assert (radius[loss >= 0] == 0).all()
    assert np.isfinite(radius).all()
