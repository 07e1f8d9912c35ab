"""Attacks that each run on every image: as alone, in columns of one table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from linear_models import linear_classifier, near_grey

from robcert.certify.attacks import per_attack_curves
from robcert.certify.attacks.analysis import analyse, summarise
from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.attacks.tables import tables
from robcert.certify.core import Norm
from robcert.certify.data.load import from_arrays
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore
from robcert.certify.tables import percent

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.attacks.summary import AttackSummary

SEED, COUNT = 3, 10
SMALL = AttackBudget(steps=5, restarts=1, targets=3, descent_steps=40, halvings=8, queries=30)
RADII = {Norm.LINF: (0.002, 0.006), Norm.L2: (0.006, 0.02)}
ATTACKS = ("pgd", "apgd-targeted", "fgsm", "noise", "fmn", "logbarrier", "random-targeted")
"""The strongest first: what follows finds little in what it leaves."""


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, Suite.QUICK, SMALL)


def session(path: Path, *, batch_size: int = 64) -> Session:
    """Images near grey of a linear classifier, the second with a wrong label."""
    model = linear_classifier(SEED)
    batch = near_grey(model, COUNT)
    labels = batch.y.numpy().copy()
    labels[1] = (labels[1] + 1) % 4
    images = from_arrays("grey", batch.x.numpy(), labels)
    store = ResultStore.open(path, model=model.info, data=images.info)
    store.add_images(np.arange(COUNT), images.labels)
    return Session(model, images, np.arange(COUNT), store, seed=5, batch_size=batch_size)


def settings(norm: Norm, *, fixed: bool, attacks: tuple[str, ...] = ATTACKS) -> AttackSettings:
    radii = RADII[norm] if fixed else ()
    return AttackSettings(norm, Suite.QUICK, attacks, epsilons=radii, per_attack=True)


@pytest.mark.parametrize("norm", list(RADII))
@pytest.mark.parametrize("fixed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_each_column_is_that_of_a_run_of_the_attack_alone(
    tmp_path: Path, norm: Norm, fixed: bool
) -> None:
    asked = settings(norm, fixed=fixed)
    run = session(tmp_path / "r.h5")
    with run.store:
        path = analyse(run, asked, epsilons=RADII[norm])
        group, together = run.store.at(path), summarise(run.store, path)
        columns, nearest = group.column("distance_per_attack"), group.column("distance")
        alone: list[AttackSummary] = []
        passes = np.zeros(COUNT, np.int64)
        for name, column in zip(ATTACKS, columns.T, strict=True):
            single = replace(asked, attacks=(name,), per_attack=False)
            own = analyse(run, single, epsilons=RADII[norm])
            np.testing.assert_array_equal(column, run.store.at(own).column("distance"), name)
            passes += run.store.at(own).column("n_forward") + run.store.at(own).column("n_backward")
            alone.append(summarise(run.store, own))
    np.testing.assert_array_equal(nearest, columns.min(1))
    np.testing.assert_array_equal(group_passes(tmp_path, path), passes)
    assert [one.name for one in together.per_attack] == list(ATTACKS)
    for one, summary in zip(together.per_attack, alone, strict=True):
        assert one.robust_accuracy == summary.robust_accuracy[-2:]
        assert one.median_distance == summary.median_distance
    values = [one.robust_accuracy[0].value for one in together.per_attack]
    assert together.robust_accuracy[0].value <= min(values) < max(values)
    assert together.targeted_success == alone[-1].targeted_success


def group_passes(folder: Path, path: str) -> np.ndarray:
    with ResultStore.read(folder / "r.h5") as store:
        group = store.at(path)
        return np.asarray(group.column("n_forward") + group.column("n_backward"))


def test_rows_do_not_depend_on_the_batch_size_or_on_a_break(tmp_path: Path) -> None:
    asked = settings(Norm.LINF, fixed=False, attacks=("pgd", "square", "fmn"))
    whole, parts = session(tmp_path / "a.h5"), session(tmp_path / "b.h5", batch_size=3)
    with whole.store, parts.store:
        expected = whole.store.at(analyse(whole, asked))
        parts.indices = np.array([7, 2])
        analyse(parts, asked)
        parts.indices = np.arange(COUNT)
        found = parts.store.at(analyse(parts, asked))
        assert "distance_per_attack" in found.columns
        for name in expected.columns:
            np.testing.assert_array_equal(found.column(name), expected.column(name), name)


def test_the_table_has_a_column_for_each_attack(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    with run.store:
        asked = settings(Norm.LINF, fixed=True, attacks=("pgd", "noise"))
        path = analyse(run, asked, epsilons=RADII[Norm.LINF])
        summary, group = summarise(run.store, path), run.store.at(path)
        curves = per_attack_curves(group)
        shares = (group.column("distance_per_attack") > 0.006 * 1.0001).mean(0)
    table = next(iter(tables([summary])))
    assert table.header[3:] == ("pgd", "noise")
    assert [cell.split(" [")[0] for cell in table.rows[0][3:]] == ["90.0 %", "90.0 %"]
    assert "ran on every image" in table.note
    pgd, noise = (percent(share) for share in shares)
    at = [row[0] for row in table.rows].index("0.006")
    assert [cell.split(" [")[0] for cell in table.rows[at][3:]] == [pgd, noise]
    assert pgd != noise
    assert [curve.name for curve in curves] == ["pgd", "noise"]
    assert [curve.share[-1, 0] for curve in curves] == list(shares)


def test_without_the_setting_there_is_neither_column_nor_key(tmp_path: Path) -> None:
    """So tables of earlier versions are those of today's settings, and are read and resumed."""
    asked = replace(settings(Norm.LINF, fixed=True, attacks=("pgd", "noise")), per_attack=False)
    assert "per_attack" not in asked.stored()
    run = session(tmp_path / "r.h5")
    with run.store:
        path = analyse(run, asked)
        assert "distance_per_attack" not in run.store.at(path).columns
        assert path != analyse(run, replace(asked, per_attack=True))
        summary = summarise(run.store, path)
    assert summary.per_attack == ()
    table = next(iter(tables([summary])))
    assert table.header == ("ε", "accuracy", "95 % interval")
    assert "every image" not in table.note
