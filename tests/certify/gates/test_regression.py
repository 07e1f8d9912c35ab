"""Regressions: tables made by hand in two files, and baselines that cannot be compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.schema import AUDIT, CLEAN
from robcert.certify.auditing.settings import AuditSettings
from robcert.certify.core import Kind, Norm
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import InvalidParameterError, StoreError
from robcert.certify.gates.gate import Decision, Outcome, RegressionGate, Relation
from robcert.certify.gates.record import decide_audit, recorded
from robcert.certify.gates.regression import decide_regression, require_baseline
from robcert.certify.gates.tables import failure
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.radius_bounds.schema import BOUNDS
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.store.column import Schema

N = 40
LABELS = np.arange(N) % 4
SETTINGS = AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=8 / 255)


def results(folder: Path, name: str, *, digest: str = "d", classes: int = 10) -> ResultStore:
    model = ModelInfo(file=name, sha256=name, kind="onnx", output_shape=("batch", classes))
    store = ResultStore.open(folder / f"{name}.h5", model=model, data=DataInfo("set", digest, N))
    store.add_images(np.arange(N), LABELS)
    return store


def fill(store: ResultStore, schema: Schema, settings: Any, **columns: Any) -> str:
    prefix = "" if settings is None else "x"
    sizes = {"class": 2, "epsilon": 2, "look": 2}
    group = store.group(schema, prefix=prefix, settings=settings, seed=0, sizes=sizes)
    rows = {}
    for column in schema.everywhere:
        shape = (N, *(sizes.get(axis, 1) for axis in column.trailing))
        rows[column.name] = np.broadcast_to(columns.get(column.name, 1), shape)
    group.append(np.arange(N), rows)
    return group.path


def clean(store: ResultStore, wrong: int) -> str:
    return fill(store, CLEAN, None, prediction=np.where(np.arange(N) < wrong, -1, LABELS))


def decided(folder: Path, level: float = 0.05, **more: Any) -> Decision:
    """The decision of a run in ``new.h5`` on a regression from ``old.h5``."""
    gate = RegressionGate("regression from old.h5", folder / "old.h5", level)
    with ResultStore.read(folder / "new.h5") as store:
        return decide_regression(gate, store, **{"paths": ("/clean",), "cut_off": (), **more})


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [(0, 5, Outcome.FAILED), (0, 4, Outcome.PASSED), (20, 0, Outcome.PASSED)],
)
def test_worse_on_five_images_of_one_number_is_significant(
    tmp_path: Path, before: int, now: int, outcome: Outcome
) -> None:
    """The p-value of 5 losses without a gain is 1/32, that of 4 is 1/16."""
    with results(tmp_path, "old") as old, results(tmp_path, "new") as new:
        clean(old, before)
        clean(new, now)
    found = decided(tmp_path)
    assert found.outcome is outcome
    assert found.value == (1.0 if before else 0.5**now)
    assert found.kind is Kind.MEASURED


def test_the_level_is_that_of_all_numbers_together(tmp_path: Path) -> None:
    """Two numbers are tested: clean accuracy, worse on 5 images, and distances, which are equal."""
    with results(tmp_path, "old") as old, results(tmp_path, "new") as new:
        clean(old, 0)
        clean(new, 5)
        paths = [fill(store, ATTACK, {"norm": "l2"}, distance=0.5) for store in (old, new)]
    found = decided(tmp_path, paths=("clean", paths[1]))
    assert found.value == pytest.approx(2 / 32)
    assert found.passed
    assert decided(tmp_path, level=0.1, paths=("clean", paths[1])).outcome is Outcome.FAILED


def test_a_failure_names_the_number_and_the_images(tmp_path: Path) -> None:
    with results(tmp_path, "old") as old, results(tmp_path, "new") as new:
        clean(old, 2)
        clean(new, 12)
    said = failure(decided(tmp_path))
    assert "clean accuracy: 0.95 in the baseline, 0.7 now" in said
    assert "worse on 10 and better on 0 of 40 images" in said


def test_estimates_and_other_tables_of_the_file_are_not_tested(tmp_path: Path) -> None:
    with results(tmp_path, "old") as old, results(tmp_path, "new") as new:
        for store, radius in ((old, 1.0), (new, 0.1)):
            path = fill(store, BOUNDS, {"norm": "l2"}, l_bound=radius)
            fill(store, ATTACK, {"norm": "l2"}, distance=radius)
    assert decided(tmp_path, paths=(path,)).outcome is Outcome.NOT_AVAILABLE


def test_unfinished_work_leaves_it_undecided(tmp_path: Path) -> None:
    with results(tmp_path, "old") as old, results(tmp_path, "new") as new:
        clean(old, 0)
        clean(new, 0)
    found = decided(tmp_path, cut_off=("attack",))
    assert found.outcome is Outcome.UNDECIDED
    assert "the time budget ended before attack did" in found.reason


def audit(store: ResultStore, settings: AuditSettings, seed: int = 0) -> None:
    store.group(AUDIT, prefix="audit", settings=settings, seed=seed)


def fault(folder: Path, store: ResultStore, name: str) -> str:
    session: Any = SimpleNamespace(store=store, seed=0, indices=np.arange(N))
    gate = RegressionGate(f"regression from {name}.h5", folder / f"{name}.h5", 0.05)
    with pytest.raises((InvalidParameterError, StoreError)) as caught:
        require_baseline(gate, session, SETTINGS)
    return str(caught.value)


def test_a_baseline_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    l2 = AuditSettings.of_profile("quick", norm=Norm.L2, epsilon=0.5)
    exact = AuditSettings.of_profile("thorough", norm=Norm.L2, epsilon=0.5)
    with results(tmp_path, "new") as new:
        clean(new, 0)
    with results(tmp_path, "new") as new:
        for name, how, settings, seed in (
            ("data", {"digest": "other"}, SETTINGS, 0),
            ("classes", {"classes": 4}, SETTINGS, 0),
            ("seed", {}, SETTINGS, 1),
            ("settings", {}, exact, 0),
        ):
            with results(tmp_path, name, **how) as old:
                audit(old, settings, seed)
        with results(tmp_path, "good") as old:
            audit(old, l2)  # the same smoothing, which is in l2 always
        assert "is the results file of this run" in fault(tmp_path, new, "new")
        assert "is about set, this run about set" in fault(tmp_path, new, "data")
        assert "has 4 classes, that of this run 10" in fault(tmp_path, new, "classes")
        assert "no audit with the seed 0" in fault(tmp_path, new, "seed")
        assert "with other settings only" in fault(tmp_path, new, "settings")
        assert "missing" in fault(tmp_path, new, "missing")
        session: Any = SimpleNamespace(store=new, seed=0, indices=np.arange(N))
        require_baseline(RegressionGate("", tmp_path / "good.h5", 0.05), session, SETTINGS)


WRITTEN = Decision(
    gate="violations == 0",
    name="violations",
    kind=Kind.MEASURED,
    radius=None,
    value=0.0,
    lower=None,
    upper=None,
    level=None,
    side=None,
    relation=Relation.EQUAL,
    threshold=0.0,
    outcome=Outcome.PASSED,
)


@pytest.mark.parametrize(
    "changed",
    [
        {"gate": ["x"]},
        {"name": {}},
        {"kind": "proven"},
        {"value": [1]},
        {"lower": "low"},
        {"threshold": None},
        {"threshold": 10**400},
        {"outcome": 3},
    ],
)
def test_a_record_that_is_not_one_is_an_error_in_one_line(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    with results(tmp_path, "new") as store:
        audit(store, SETTINGS)
        assert recorded(store) == ()
        group = store.existing("audit")[0]
        group.set_attributes(gates=[WRITTEN.to_json()])
        assert recorded(store) == (WRITTEN,)
        for entries in ([WRITTEN.to_json() | changed], [changed], ["x"], 3):
            group.set_attributes(gates=entries)
            with pytest.raises(StoreError, match="are not as robcert writes them"):
                recorded(store)


def test_decisions_are_kept_in_the_record(tmp_path: Path) -> None:
    with results(tmp_path, "old") as old:
        clean(old, 0)
    with results(tmp_path, "new") as store:
        clean(store, 10)
        audit(store, SETTINGS)
        group = store.existing("audit")[0]
        group.set_attributes(record={"keys": {}, "not_available": {}, "inspect": {}}, run=1)
        summary: Any = SimpleNamespace(readings={}, not_available={})
        gate = RegressionGate("regression from old.h5", tmp_path / "old.h5", 0.05)
        made = decide_audit((gate,), store, summary)
        assert not made[0].passed
        assert recorded(store) == made
