from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from half_space import SHAPE, laboratory
from torch import Tensor, nn

from robcert.certify.errors import InvalidParameterError
from robcert.certify.model.classifier import Classifier
from robcert.certify.smoothing.analysis import SmoothingSettings
from robcert.certify.smoothing.analysis import analyse as certify
from robcert.certify.smoothing.attack import SmoothingAttackSettings, analyse, summarise
from robcert.certify.store.ledger import ledger

if TYPE_CHECKING:
    from pathlib import Path

QUICK = SmoothingAttackSettings(steps=40, draws=8, n=5000)


class Constant(nn.Module):
    """Class 0 everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1).sum(1, keepdim=True)
        return (flat * 0).expand(-1, 2) + flat.new_tensor([1.0, 0.0])


def test_distances_of_a_half_space_are_those_to_its_border(tmp_path: Path) -> None:
    """Smoothing does not move the border, so nothing nearer than it can be established.

    24 images at alpha = 1e-3 over fixed noise; the border may be out of reach inside [0, 1].
    """
    lab = laboratory(tmp_path)
    with lab.store() as store:
        key = analyse(lab.session(store), QUICK)
        group, summary = store.at(key), summarise(store, key)
        distance, reference = group.column("distance"), group.column("reference")
        prediction = group.column("prediction")
    labels, true = lab.images.labels, lab.true_radius
    assert labels is not None
    known = reference != -1
    assert (reference == labels)[known].all()
    assert np.isnan(distance[~known]).all()
    reached = np.isfinite(distance)
    assert reached.sum() > 10
    assert (distance[reached] >= true[reached]).all()
    assert np.median((distance - true)[reached]) < 0.2 * QUICK.sigma
    assert (prediction[reached] == 1 - reference[reached]).all()
    assert summary.n == known.sum()
    assert summary.success.value == reached.sum() / known.sum()


def test_certified_radii_stay_below_attacked_distances(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    with lab.store() as store:
        certify(lab.session(store), SmoothingSettings(n=5000, radii=(0.1, 0.2, 0.3)))
        analyse(lab.session(store), QUICK)
        entry = ledger(store)
    assert entry.compared > 10
    assert entry.count == 0


def test_a_constant_classifier_has_no_attacked_distance(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, n=4)
    with lab.store() as store:
        session = lab.session(store)
        session.classifier = Classifier.from_module(Constant(), image_shape=SHAPE, num_classes=2)
        key = analyse(session, QUICK)
        assert np.isinf(store.at(key).column("distance")).all()
        assert summarise(store, key).success.value == 0


def test_rows_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, n=6)
    with lab.store("one") as store:
        group = store.at(analyse(lab.session(store), QUICK))
        whole = {name: group.column(name) for name in group.columns}
    with lab.store("two") as store:
        session = lab.session(store, [4, 1])
        session.batch_size = 1
        group = store.at(analyse(session, QUICK))
        for name, values in whole.items():
            part = group.column(name, session.indices)
            assert np.array_equal(part, values[[4, 1]], equal_nan=True), name


def test_more_draws_than_a_noise_block_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="draws must be at most 64"):
        SmoothingAttackSettings(draws=65)
