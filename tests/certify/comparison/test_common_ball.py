"""Accuracies of several files at one radius: chosen where all can answer, certified by radii."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.comparison import CertifiedCurve, ComparisonSettings, compare
from robcert.certify.comparison.figures import figure_of
from robcert.certify.comparison.overview_table import overview_table
from robcert.certify.data.load import DataInfo
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.smoothing import CertifiedAccuracy
from robcert.certify.store.store import ResultStore
from robcert.certify.verification import VERIFY

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.comparison import Comparison
    from robcert.certify.store import Schema

N = 10
RADII = np.linspace(0.01, 0.1, N)
VERIFICATION = {
    "norm": "linf",
    "method": "auto",
    "arithmetic": "float32",
    "seconds": 1.0,
}


def constants(schema: Schema) -> dict[str, Any]:
    """A row of ones for each image in every column of ``schema`` that has no further axis."""
    return {
        column.name: np.ones((N, *(1 for _ in column.trailing)), column.dtype)
        for column in schema.everywhere
    }


def file_of(
    path: Path, epsilons: tuple[float, ...], *, proved: float = 0.0, **settings: Any
) -> Path:
    """A file with attacks at RADII * 1.5, and certified radii of RADII * ``proved``."""
    model = ModelInfo(file=f"{path.stem}.onnx", sha256=path.stem, kind="onnx")
    with ResultStore.open(path, model=model, data=DataInfo("set", "d", N)) as store:
        store.add_images(np.arange(N), np.zeros(N, np.int64))
        chosen = {"norm": "linf", "suite": "quick", "reported_radii": epsilons, **settings}
        clean = store.group(CLEAN, prefix="x", settings={}, seed=0)
        clean.append(np.arange(N), constants(CLEAN))
        attack = store.group(ATTACK, prefix="x", settings=chosen, seed=0)
        attack.append(np.arange(N), {**constants(ATTACK), "distance": RADII * 1.5})
        attack.set_attributes(epsilons=list(epsilons), headline_epsilon=epsilons[0])
        if proved:
            sizes = {"epsilon": 1}
            table = store.group(VERIFY, prefix="x", settings=VERIFICATION, seed=0, sizes=sizes)
            radii = {"radius": RADII * proved, "distance": RADII * 1.5}
            table.append(np.arange(N), {**constants(VERIFY), **radii})
            table.set_attributes(epsilons=[epsilons[0]])
    return path


def shares(found: Comparison) -> list[tuple[float | None, float, float | None]]:
    """Radius, attacked and certified share of each file."""
    rows = []
    for row in found.rows:
        assert row.attacked is not None
        proven = None if row.proven is None else row.proven.value
        rows.append((row.epsilon, row.attacked.value, proven))
    return rows


def test_the_radius_is_one_that_all_attacks_searched(tmp_path: Path) -> None:
    first = file_of(tmp_path / "a.h5", (0.08, 0.02, 0.045), proved=1.0)
    second = file_of(tmp_path / "b.h5", (0.045, 0.06), proved=0.5)
    found = compare([first, second])
    attacked, certified = (RADII * 1.5 > 0.045).mean(), (RADII >= 0.045).mean()
    assert shares(found) == [
        (0.045, attacked, certified),
        (0.045, attacked, (RADII * 0.5 >= 0.045).mean()),
    ]
    table = overview_table(found.rows)
    assert {"0.045 linf certified", "0.045 linf attacked"} <= {*table.header}
    assert "that of a.onnx is 0.08" in table.note
    assert "by distance" not in str(table.rows)


def test_without_one_the_smallest_distances_decide(tmp_path: Path) -> None:
    first = file_of(tmp_path / "a.h5", (0.08,), proved=1.0)
    second = file_of(tmp_path / "b.h5", (0.045,))
    found = compare([first, second])
    assert [row.epsilon for row in found.rows] == [0.08, 0.08]
    assert [row.by_distance for row in found.rows] == [False, True]
    assert shares(found)[0][2] == (RADII >= 0.08).mean()
    table = overview_table(found.rows)
    place = table.header.index("0.08 linf attacked")
    assert [row[place].endswith(", by distance") for row in table.rows] == [False, True]


@pytest.mark.parametrize("epsilons", [(), (0.03,)])
def test_files_held_to_other_radii_keep_their_own(
    tmp_path: Path, epsilons: tuple[float, ...]
) -> None:
    first = file_of(tmp_path / "a.h5", (0.08,), radii=(0.08,))
    second = file_of(tmp_path / "b.h5", (0.045,), radii=(0.045,))
    found = compare([first, second], ComparisonSettings(epsilons))
    own = [0.08, 0.045] if not epsilons else [None, None]  # nothing is known within 0.03
    assert [row.epsilon for row in found.rows] == own
    assert [row.attacked is None for row in found.rows] == [bool(epsilons)] * 2
    robust = [d.quantity for d in found.others[0].differences if "robust" in d.quantity]
    assert not epsilons or robust == []


def test_certified_accuracy_falls_in_steps(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.h5", (0.08,))
    other = file_of(tmp_path / "b.h5", (0.08,))
    (row, _) = compare([path, other]).rows
    points = tuple(CertifiedAccuracy(r, v, v, v, v, True) for r, v in ((0.0, 0.8), (0.5, 0.4)))
    drawn = figure_of([replace(row, certified_curves=(CertifiedCurve(0.25, "σ = 0.25", points),))])
    (curve,) = [
        line for axes in drawn.axes for line in axes.lines if "(certified)" in str(line.get_label())
    ]
    assert curve.get_drawstyle() == "steps-pre"
    assert np.asarray(curve.get_xydata()).tolist() == [[0.0, 0.8], [0.5, 0.4]]
