"""Main numbers of a results file with tables in several norms."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import integer_models
from onnx_models import saved

import robcert.certify as door
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.comparison.overview import overview
from robcert.certify.comparison.overview_table import overview_table
from robcert.certify.core import Norm
from robcert.certify.importer.load import load_classifier
from robcert.certify.radius_bounds.settings import BoundsSettings
from robcert.certify.store.store import ResultStore
from robcert.certify.tables import percent

if TYPE_CHECKING:
    from pathlib import Path

FEW = BoundsSettings(blocks=30, block_size=2, points=2, steps=2, restarts=1, rho_steps=2)


def test_numbers_are_of_one_norm_and_of_the_strongest_attack(tmp_path: Path) -> None:
    path = saved(tmp_path, integer_models.network(integer=False))
    images = integer_models.labelled(load_classifier(path), integer_models.photographs(70))
    source = (path, images)
    shared: dict[str, Any] = {"limit": 20, "threads": 1, "out": tmp_path / "r.h5"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", door.RobcertWarning)
        strong = door.attack(*source, profile="quick", **shared)
        bounds = door.bounds(*source, FEW, **shared)
        door.bounds(*source, replace(FEW, norm=Norm.L2, epsilon=0.5), **shared)
        weak = door.attack(*source, AttackSettings(attacks=("noise",)), **shared)
    at = 16 / 255
    with ResultStore.read(tmp_path / "r.h5") as store:
        found = overview(store, epsilon=at)
    best, worse = (
        next(e.value for e in result.summary.robust_accuracy if abs(e.epsilon - at) < 1e-9)
        for result in (strong, weak)
    )
    assert best < worse
    assert found.attacked is not None
    assert (found.attacked.value, found.attacked.n) == (best, 20)
    assert found.distance == strong.summary.median_distance
    assert found.norm == "linf"
    assert found.l_bound == bounds.summary.radius["l_bound"].mean
    other = overview_table([found, replace(found, norm="l2", epsilon=0.5)])
    column = next(i for i, name in enumerate(other.header) if name.endswith("linf attacked"))
    assert other.rows[0][column] == percent(best)
    assert other.rows[1][column] == f"{percent(best)} at 0.5 l2"
