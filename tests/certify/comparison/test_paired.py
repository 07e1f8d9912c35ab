"""Paired differences: tables made by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.comparison.difference import ComparisonSettings, Difference
from robcert.certify.comparison.difference_table import difference_tables
from robcert.certify.comparison.paired import differences
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.radius_bounds.schema import BOUNDS
from robcert.certify.smoothing.schema import SMOOTHING
from robcert.certify.stats import Correction
from robcert.certify.store.store import ResultStore
from robcert.certify.verification.schema import VERIFY

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.store.column import Schema

N = 40
LABELS = np.arange(N) % 4


def results(folder: Path, name: str, *, digest: str = "d", preprocessing: str = "") -> ResultStore:
    model = ModelInfo(file=name, sha256=name, kind="onnx", preprocessing=preprocessing)
    data = DataInfo("set", digest, N)
    store = ResultStore.open(folder / f"{name}.h5", model=model, data=data)
    store.add_images(np.arange(N), LABELS)
    return store


def fill(store: ResultStore, schema: Schema, settings: Any, **columns: Any) -> None:
    sizes = {"class": 2, "look": 2, "epsilon": 2}
    group = store.group(schema, prefix="x", settings=settings, seed=0, sizes=sizes)
    rows = {}
    for column in schema.everywhere:
        shape = (N, *(sizes.get(axis, 1) for axis in column.trailing))
        rows[column.name] = np.broadcast_to(columns.get(column.name, 1), shape)
    group.append(np.arange(N), rows)


def found(store_a: ResultStore, store_b: ResultStore, **options: Any) -> dict[str, Difference]:
    return {d.quantity: d for d in differences(store_a, store_b, ComparisonSettings(**options))}


def certificates(store: ResultStore, radius: Any, *epsilons: float, **settings: Any) -> None:
    usual = {"norm": "linf", "arithmetic": "float32", "method": "auto", "seconds": 10.0}
    asked = usual | {"epsilons": epsilons} | settings
    sizes = {"epsilon": len(epsilons)}
    group = store.group(VERIFY, prefix="x", settings=asked, seed=0, sizes=sizes)
    columns = {
        column.name: np.zeros((N, *(sizes[axis] for axis in column.trailing)))
        for column in VERIFY.columns
        if not column.images
    }
    group.append(np.arange(N), columns | {"radius": np.broadcast_to(radius, N)})
    group.set_attributes(epsilons=list(epsilons))


def test_shares_are_compared_image_by_image(tmp_path: Path) -> None:
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        fill(a, CLEAN, None, prediction=np.where(np.arange(N) < 10, -1, LABELS))
        fill(b, CLEAN, None, prediction=np.where(np.arange(N) < 2, -1, LABELS))
        clean = found(a, b)["clean accuracy"]
    assert (clean.a, clean.b, clean.n) == (0.75, 0.95, N)
    assert (clean.more_a, clean.more_b) == (0, 8)
    assert clean.p_value == pytest.approx(2 * 0.5**8)
    assert clean.difference == pytest.approx(0.2)
    assert 0 < clean.lower < 0.2 < clean.upper


def test_numbers_are_compared_by_their_mean_and_sign(tmp_path: Path) -> None:
    gain = np.where(np.arange(N) < 30, 0.2, -0.1)
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        fill(a, BOUNDS, {"norm": "l2"}, l_bound=np.linspace(0, 1, N))
        fill(b, BOUNDS, {"norm": "l2"}, l_bound=np.linspace(0, 1, N) + gain)
        l_bound = found(a, b)["l_bound"]
    assert (l_bound.more_a, l_bound.more_b) == (10, 30)
    assert l_bound.difference == pytest.approx(gain.mean())
    reach = 2.0226909 * gain.std(ddof=1) / N**0.5  # Student's 97.5 % quantile, 39 degrees
    assert l_bound.upper - l_bound.difference == pytest.approx(reach, rel=1e-6)


def test_infinite_distances_leave_medians_and_the_sign_test(tmp_path: Path) -> None:
    distance = np.linspace(0.01, 0.4, N)
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        fill(a, ATTACK, {"norm": "l2"}, distance=distance)
        fill(b, ATTACK, {"norm": "l2"}, distance=np.where(distance > 0.3, math.inf, distance))
        both = found(a, b, epsilons=(0.35,))
    distances, robust = both["distance"], both["robust accuracy at 0.35 (l2)"]
    assert distances.difference == 0
    assert math.isnan(distances.lower)
    assert (distances.more_a, distances.more_b) == (0, int((distance > 0.3).sum()))
    assert (robust.a, robust.b) == ((distance > 0.35).mean(), (distance > 0.3).mean())


def test_what_float32_adds_to_a_radius_is_within_it(tmp_path: Path) -> None:
    held, broken = {"norm": "linf", "radii": [8 / 255]}, 8 / 255 * (1 + 1e-6)
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        for store in (a, b):
            fill(store, ATTACK, held, distance=broken)
        robust = found(a, b, epsilons=(8 / 255,))["robust accuracy at 8/255 (linf)"]
    assert (robust.a, robust.b) == (0, 0)


def test_a_radius_counts_the_tables_that_both_files_have(tmp_path: Path) -> None:
    curve, held = {"norm": "l2", "reported_radii": [0.5]}, {"norm": "l2", "radii": [0.3]}
    near = np.where(np.arange(N) < 4, 0.29, math.inf)
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        for store in (a, b):
            fill(store, ATTACK, curve, distance=np.where(np.arange(N) < 30, 0.4, 0.6))
            fill(store, ATTACK, held, distance=near)
        fill(a, ATTACK, held | {"radii": [0.1]}, distance=0.05)
        both = differences(a, b, ComparisonSettings(epsilons=(0.3, 0.5)))
        path = a.existing("attack")[0].path
        rows = list(difference_tables("a", "b", both, Correction.NONE))
    of_curve = {d.quantity: d for d in both if d.table == path}
    searched = of_curve["robust accuracy at 0.5 (l2)"]
    assert (searched.a, searched.b) == (0.25, 0.25)
    by_distance = of_curve["robust accuracy at 0.3 (l2), by distance"]
    assert (by_distance.a, by_distance.b) == (0.9, 0.9)
    assert any("held to this radius" in table.note for table in rows)


def test_certified_accuracy_needs_the_right_class(tmp_path: Path) -> None:
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        settings = {"radii": [0.5], "sigma": 1}
        fill(a, SMOOTHING, settings, prediction=LABELS, radius=0.6)
        fill(b, SMOOTHING, settings, prediction=0, radius=0.6)
        certified = found(a, b)["certified accuracy at 0.5 (l2)"]
    assert (certified.a, certified.b, certified.kind) == (1, 0.25, "certified")


def test_the_levels_of_an_integer_input_are_no_other_settings(tmp_path: Path) -> None:
    """A model can be compared with its export that has a uint8 input."""
    integer = '{"dtype": "uint8", "range": [0, 255]}'
    for norm, compared in (("l2", 1), ("linf", 0)):
        with (
            results(tmp_path, f"a{norm}") as a,
            results(tmp_path, f"b{norm}", preprocessing=integer) as b,
        ):
            fill(a, ATTACK, {"norm": norm}, distance=0.1)
            fill(b, ATTACK, {"norm": "l2"}, distance=0.2)
            assert a.existing("attack")[0].settings == {"norm": norm}
            of_model = {"input_step": 1 / 255, "input_rounding": "length"}
            assert b.existing("attack")[0].settings == {"norm": "l2", **of_model}
            for pair in ((a, b), (b, a)):
                assert bool(differences(*pair, ComparisonSettings())) == bool(compared)


def test_other_settings_or_other_data_are_not_compared(tmp_path: Path) -> None:
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        fill(a, ATTACK, {"norm": "l2"}, distance=0.1)
        fill(b, ATTACK, {"norm": "linf"}, distance=0.1)
        assert differences(a, b, ComparisonSettings()) == ()
    with (
        results(tmp_path, "c", digest="e") as c,
        results(tmp_path, "f") as f,
        pytest.raises(StoreError, match="is about set"),
    ):
        differences(c, f, ComparisonSettings())


ITSELF = "certified accuracy of the model itself at "


def test_certificates_are_compared_at_the_radii_of_both_tables(tmp_path: Path) -> None:
    images = np.arange(N)
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        certificates(a, np.where(images < 10, 0.1, 0.0), 0.02, 0.1)
        certificates(b, np.where(images < 18, 0.1, 0.02), 0.3, 0.1, 0.05)
        both = found(a, b)
        chosen = found(a, b, epsilons=(0.1, 0.02, 0.05))
    certified = both.pop(f"{ITSELF}0.1 (linf, float32)")
    assert (certified.a, certified.b, certified.kind) == (0.25, 0.45, "certified")
    assert (certified.more_a, certified.more_b, certified.n) == (0, 8, N)
    assert certified.p_value == pytest.approx(2 * 0.5**8)
    radius = both.pop("radius of the model itself (linf, float32)")
    assert radius.difference == pytest.approx((8 * 0.1 + 22 * 0.02) / N)
    assert both == {}
    assert set(chosen) == {certified.quantity, radius.quantity}


@pytest.mark.parametrize("other", [{"norm": "l2"}, {"arithmetic": "real"}])
def test_certificates_of_another_claim_are_not_compared(
    tmp_path: Path, other: dict[str, str]
) -> None:
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        certificates(a, 0.1, 0.1)
        certificates(b, 0.1, 0.1, **other)
        assert found(a, b) == {}


def test_certificates_by_equal_effort_are_compared_first(tmp_path: Path) -> None:
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        certificates(a, 0.2, 0.1)
        certificates(a, 0.0, 0.1, method="crown")
        certificates(b, 0.1, 0.1)
        (equal,) = [d for d in differences(a, b, ComparisonSettings()) if ITSELF in d.quantity]
    assert (equal.a, equal.b) == (1, 1)
    assert equal.quantity == f"{ITSELF}0.1 (linf, float32)"


def test_certificates_by_other_effort_say_so(tmp_path: Path) -> None:
    with results(tmp_path, "a") as a, results(tmp_path, "b") as b:
        certificates(a, 0.2, 0.1)
        certificates(b, 0.0, 0.1, seconds=1.0)
        both = differences(a, b, ComparisonSettings())
        rows = list(difference_tables("a", "b", both, Correction.NONE))
    assert {d.quantity for d in both} == {
        f"{ITSELF}0.1 (linf, float32), other effort",
        "radius of the model itself (linf, float32), other effort",
    }
    (table,) = rows
    assert "more effort certifies more" in table.note
