"""Linearity and bounds of the bundled honest model: orders of magnitude, and what must agree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from places import FIXTURES

from robcert.certify import local_linearity as linearity
from robcert.certify.attacks import suites
from robcert.certify.attacks.search.state import SearchState
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.core import Norm
from robcert.certify.data.load import load_images
from robcert.certify.importer.load import load_classifier
from robcert.certify.local_linearity.deviation import Sided
from robcert.certify.numerics.losses import Loss
from robcert.certify.radius_bounds import analysis as bounds
from robcert.certify.radius_bounds.settings import BoundsSettings, Margin
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_estimates_of_the_bundled_model_agree_with_each_other(tmp_path: Path) -> None:
    """One file, both analyses; omega at epsilon is at least each image's own upper residual."""
    classifier = load_classifier(FIXTURES / "fashion-honest.onnx")
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


@pytest.mark.slow
def test_no_attack_of_the_thorough_suite_gets_below_a_gamma_bound(
    tmp_path: Path,
) -> None:
    """Attacks at a radius are held to each image's own bound, the others minimise the distance.

    The latter with a fifth of the suite's steps: they take minutes per image otherwise.
    """
    classifier = load_classifier(FIXTURES / "fashion-honest.onnx")
    images = load_images("fashion-mnist-2000")
    settings = replace(
        BoundsSettings.of_profile("quick"),
        norm=Norm.LINF,
        epsilon=8 / 255,
        margin=Margin.PROBABILITY,
        blocks=1,
        block_size=5,
        clever_blocks=0,
    )
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(5), store)
        radius = store.at(bounds.analyse(session, settings)).column("gamma_bound")
        batch = session.batch(session.indices)
    names = suites.attacks_of(Suite.THOROUGH, (), Norm.LINF, differentiable=True)
    tried = 0
    for at in np.flatnonzero(radius > 0):
        state = SearchState(classifier, batch.part(np.array([at])), Norm.LINF)
        budget = replace(BUDGETS[Suite.THOROUGH], epsilons=(float(radius[at]),), descent_steps=200)
        suites.run(state, names, budget)
        assert float(state.distance[0]) > radius[at] * (1 - 1e-4)
        tried += 1
    assert tried >= 3
