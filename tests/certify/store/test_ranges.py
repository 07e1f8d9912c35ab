"""Numbers that no analysis can have are damage, even where their types and checksums are right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import remember_written
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.store import ResultStore
from robcert.certify.verification.schema import VERIFY

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx")
DATA = DataInfo("set", "b" * 64, 50)
SOME = np.arange(6)
SETTINGS: dict[str, Any] = {"norm": "linf", "radii": [], "restarts": None}
SETTINGS |= {"sigma": 0.25, "alpha": 0.001, "n": 100}
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file with a table of attacks, of which the last row is not finished."""
    path = tmp_path_factory.mktemp("whole") / "r.h5"
    rows = {column.name: np.zeros(5, column.dtype) for column in ATTACK.everywhere}
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        store.add_images(SOME, SOME)
        group = store.group(ATTACK, prefix="linf", settings=SETTINGS, seed=0)
        group.append(SOME[:5], rows)
        group.finish(SOME[:5], epsilons=[0.1, 0.2], headline_epsilon=0.1)
        return path, group.path


@pytest.fixture
def table(whole: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A copy of it."""
    path, place = whole
    return Path(shutil.copy(path, tmp_path)), place


ATTRIBUTES = ("epsilons", "headline_epsilon", "size", "seconds", "run", "vanishing_share")


def changed(path: Path, place: str, change: dict[str, Any], column: str = "") -> None:
    """Change settings, or attributes, or the first value of a column, past its checksums."""
    with h5py.File(path, "r+") as file:
        group = file[place]
        settings = json.loads(group.attrs.get("settings", "null"))
        for name, value in change.items():
            if column:
                group[column][0] = value
            elif name in ATTRIBUTES:
                group.attrs[name] = json.dumps(value) if isinstance(value, list | dict) else value
            else:
                settings[name] = value
        if settings is not None:
            group.attrs["settings"] = json.dumps(settings)
    remember_written(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("epsilons", [value]) for value in (NAN, -0.1, INFINITE, "x", None, True, [0.1])),
        ("epsilons", 0.1),
        ("radii", [0.1, -1]),
        *(("headline_epsilon", value) for value in (NAN, -1.0, 0.0, INFINITE, "x")),
        ("sigma", -0.25),
        *(("alpha", value) for value in (0.0, 1.0, NAN, "x")),
        *(("n", value) for value in (-1, 10**18, True, NAN)),
        ("norm", "l7"),
        ("norm", 2),
        *(("vanishing_share", share) for share in (7.0, -0.1, "x")),
        ("seconds", -1.0),
        ("seconds", {"attack": -1.0}),
        ("seconds", {"attack": "x"}),
        ("run", -1),
        ("run", 10**18),
    ],
)
def test_settings_out_of_their_range_are_damage(
    name: str, value: object, table: tuple[Path, str]
) -> None:
    path, place = table
    changed(path, place, {name: value})
    with pytest.raises(StoreError, match=f"is damaged at {place}: {name} ") as caught:
        ResultStore.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"norm": "l2"}, {"restarts": 3}, {"more": 1}, {"sigma": 0.5}])
def test_settings_are_those_that_the_name_stands_for(
    change: dict[str, object], table: tuple[Path, str]
) -> None:
    path, place = table
    changed(path, place, change)
    with pytest.raises(StoreError, match=f"{place}: its settings are not those that its name"):
        ResultStore.read(path)


@pytest.mark.parametrize("size", [-1, 0, 5, 2**40])
def test_a_data_set_has_the_images_that_the_file_names(size: int, table: tuple[Path, str]) -> None:
    changed(table[0], "data", {"size": size})
    with pytest.raises(StoreError, match=f"is damaged at /data: size is {size}"):
        ResultStore.read(table[0])


def test_an_image_named_twice_is_damage(table: tuple[Path, str]) -> None:
    path, place = table
    changed(path, place, {"indices": "0-4,2"})
    with pytest.raises(StoreError, match="settings name an image twice"):
        ResultStore.read(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("distance", -0.1), ("distance", -INFINITE), ("prediction", -3), ("n_forward", -2)],
)
def test_values_below_the_range_of_their_units_are_damage(
    column: str, value: float, table: tuple[Path, str]
) -> None:
    path, place = table
    changed(path, place, {column: value}, column=column)
    with pytest.raises(StoreError, match=f"{place}/{column}: has the value {value}, below"):
        ResultStore.read(path)


def test_a_column_has_a_number_for_each_radius(tmp_path: Path) -> None:
    path, rows = tmp_path / "r.h5", dict[str, Any]()
    for column in VERIFY.everywhere:
        rows[column.name] = np.zeros((6, 2) if column.trailing else 6, column.dtype)
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        store.add_images(SOME, SOME)
        group = store.group(VERIFY, prefix="linf", settings=SETTINGS, seed=0, sizes={"epsilon": 2})
        group.append(SOME, rows)
        group.finish(SOME, epsilons=[0.1, 0.2])
        place = group.path
    ResultStore.read(path).close()
    changed(path, place, {"epsilons": [0.1]})
    with pytest.raises(StoreError, match="/status: is for 2 radii, epsilons names 1"):
        ResultStore.read(path)


@pytest.mark.parametrize("value", [NAN, INFINITE, 0.0])
def test_no_distance_and_rows_that_are_not_finished_are_no_damage(
    value: float, table: tuple[Path, str]
) -> None:
    path, place = table
    changed(path, place, {"distance": value}, column="distance")
    with ResultStore.read(path) as store:
        assert store.at(place).column("distance", SOME[:1])[0] == pytest.approx(value, nan_ok=True)
        assert not store.at(place).computed(SOME[5:]).any()
