"""Main numbers of a results file with tables in several norms."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import integer_models
from onnx_models import saved

import robcert.certify as door
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.comparison.analysis import compare, side_by_side
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


def test_attacks_that_ran_alone_have_columns_and_differences(tmp_path: Path) -> None:
    """The first file's attacks ran alone within the radius; of the second's no column is there."""
    path = saved(tmp_path, integer_models.network(integer=False))
    images = integer_models.labelled(load_classifier(path), integer_models.photographs(70))
    at = 16 / 255
    asked = AttackSettings(attacks=("noise", "fgsm"), epsilons=(at,), per_attack=True)
    shared: dict[str, Any] = {"limit": 20, "threads": 1, "eps": at}
    files = [tmp_path / name for name in ("a.h5", "b.h5", "c.h5")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", door.RobcertWarning)
        result = door.attack(path, images, asked, out=files[0], **shared)
        door.attack(path, images, asked, out=files[1], **shared)
        door.attack(path, images, replace(asked, per_attack=False), out=files[2], **shared)
    both, one = compare(files[:2]), [side_by_side(files[:1]), side_by_side(files[2:])]
    alone = {of.name: of.robust_accuracy[0].value for of in result.summary.per_attack}
    assert {name: share.value for name, share in both.rows[0].per_attack.items()} == alone
    assert len(set(alone.values())) == 2
    table = overview_table([one[0].rows[0], one[1].rows[0]])
    for name, value in alone.items():
        column = table.header.index(f"{name} attacked")
        assert [row[column] for row in table.rows] == [percent(value), "–"]
    quantities = {one.quantity: one for one in both.others[0].differences}
    for name, value in alone.items():
        found = quantities[f"{name}: robust accuracy at 16/255 (linf)"]
        assert (found.a, found.b, found.n) == (value, value, 20)
    assert one[1].rows[0].per_attack == {}
    with ResultStore.read(files[0]) as store:
        assert overview(store, epsilon=at / 2).per_attack == {}
