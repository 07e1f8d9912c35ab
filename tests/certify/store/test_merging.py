"""Joined results files hold what one run would have written, or none is written."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from robcert.certify.core import Kind
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import seal
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store import Column, ResultStore, Schema, declare, examine, merge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx", notes=("n" * 70_000,))
DATA = DataInfo("digits", "b" * 64, 100)
JOINED = declare(
    Schema(
        "joined",
        1,
        "rows of every kind",
        (
            Column("distance", "f8", Kind.ATTACKED, "distance", "pixel"),
            Column("status", "i1", Kind.ATTACKED, "status", trailing=("epsilon",), fill=-1),
            Column("seconds", "f8", Kind.MEASURED, "time", "s"),
            Column("image", "f4", Kind.ATTACKED, "image", trailing=("c", "y", "x"), images=True),
        ),
    )
)
DRAWS = declare(
    Schema("joined-draws", 1, "draws", (Column("v", "f8", Kind.MEASURED, "v"),), axis="sample")
)
PLAIN = declare(
    Schema("joined-plain", 1, "v", (Column("distance", "f8", Kind.ATTACKED, "v", "pixel"),))
)
SIZES = {"epsilon": 2, "c": 1, "y": 2, "x": 2}


@dataclass(frozen=True)
class Settings:
    epsilon: float = 0.1


def rows_of(indices: np.ndarray[Any, Any], seconds: float) -> dict[str, np.ndarray[Any, Any]]:
    images = np.arange(4, dtype=np.float32).reshape(1, 2, 2) + indices[:, None, None, None]
    return {
        "distance": np.where(indices % 3 == 0, np.nan, indices / 7),
        "status": np.stack([indices % 2, indices % 5], 1),
        "seconds": np.full(len(indices), seconds),
        "image": images.astype(np.float32),
    }


@dataclass(frozen=True)
class Part:
    """How one file differs from the others: distances are larger by ``shift``."""

    model: ModelInfo = MODEL
    settings: Settings = Settings()
    seconds: float = 1.0
    shift: float = 0.0
    finish: bool = True
    radii: int = 2


def written(path: Path, indices: list[int], part: Part = Part(), **attributes: object) -> Path:
    """A results file with rows for ``indices``."""
    with ResultStore.open(path, model=part.model, data=DATA) as store:
        at, sizes = np.array(indices), SIZES | {"epsilon": part.radii}
        store.add_images(at, at % 10)
        group = store.group(JOINED, prefix="j", settings=part.settings, seed=3, sizes=sizes)
        rows = rows_of(at, part.seconds)
        rows["distance"] = rows["distance"] + part.shift
        rows["status"] = rows["status"][:, : part.radii]
        group.append(at, rows)
        draws = store.sample_group(group, DRAWS, settings=Settings(), sizes={}, n_rows=5)
        draws.append(np.arange(5), {"v": np.arange(5) / 3})
        draws.finish(np.arange(5))
        group.save_array("fit/maxima", np.arange(3.0), kind=Kind.MEASURED, doc="maxima")
        if part.finish:
            group.finish(at, **({"epsilons": [0.1, 0.2][: part.radii]} | attributes))
    return path


def content(path: Path) -> dict[str, Any]:
    """Everything in a results file but times, by path."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        varies = name.rsplit("/", 1)[-1] in ("seconds", "checksum")
        if isinstance(item, h5py.Dataset) and not varies:
            found[name] = item[()].tobytes() if item.shape else item.asstr()[()]
        for key, value in item.attrs.items():
            if key not in ("created", "checksum"):
                found[f"{name}:{key}"] = str(value)

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


@pytest.mark.parametrize(
    "parts", [([0, 2, 4], [1, 3]), ([4, 1], [3, 2, 0]), ([0, 1, 2], [2, 3], [4, 0])]
)
def test_parts_become_the_file_of_one_run(tmp_path: Path, parts: tuple[list[int], ...]) -> None:
    files = [
        written(tmp_path / f"{at}.h5", part, Part(seconds=at)) for at, part in enumerate(parts)
    ]
    tables = merge(files, tmp_path / "all.h5")
    whole = written(tmp_path / "whole.h5", [0, 1, 2, 3, 4])
    assert content(tmp_path / "all.h5") == content(whole)
    assert [(table.rows, table.complete) for table in tables] == [(5, True), (5, True)]
    assert tables[0].repeated == sum(map(len, parts)) - 5
    assert examine(tmp_path / "all.h5").whole
    with ResultStore.read(tmp_path / "all.h5") as store:
        group = store.existing("joined")[0]
        np.testing.assert_array_equal(group.indices, np.arange(5))
        np.testing.assert_array_equal(group.column("image")[:, 0, 0, 0], np.arange(5))


def test_a_joined_file_takes_further_rows(tmp_path: Path) -> None:
    files = [written(tmp_path / "a.h5", [0]), written(tmp_path / "b.h5", [2])]
    merge(files, tmp_path / "all.h5")
    written(tmp_path / "all.h5", [0, 1, 2])
    assert content(tmp_path / "all.h5")["data/index"] == np.array([0, 2, 1]).tobytes()


def test_what_files_do_not_agree_on_waits_for_another_run(tmp_path: Path) -> None:
    files = [
        written(tmp_path / "a.h5", [0], verdict="clear", failed={"7": "NaN", "1": "NaN"}),
        written(tmp_path / "b.h5", [1], verdict="masked", failed={"8": "NaN"}),
    ]
    tables = merge(files, tmp_path / "all.h5")
    assert [table.complete for table in tables] == [False, True]
    with ResultStore.read(tmp_path / "all.h5") as store:
        group = store.existing("joined")[0]
        assert not group.complete
        assert group.attribute("verdict") is None
        assert group.attribute("failed") == {"7": "NaN", "8": "NaN"}  # 1 has a row
        assert group.attribute("epsilons") == [0.1, 0.2]


def test_radii_that_rows_do_not_depend_on_are_those_of_all_files(tmp_path: Path) -> None:
    files = []
    for at, radii in enumerate(([0.2, 0.3], [0.1, 0.2])):
        files.append(tmp_path / f"{at}.h5")
        one = np.array([at])
        with ResultStore.open(files[-1], model=MODEL, data=DATA) as store:
            store.add_images(one, one)
            group = store.group(PLAIN, prefix="p", settings=Settings(), seed=3)
            group.append(one, {"distance": one * 0.1})
            group.finish(one, epsilons=radii, headline_epsilon=radii[0])
    (table,) = merge(files, tmp_path / "all.h5")
    assert table.complete
    with ResultStore.read(tmp_path / "all.h5") as store:
        group = store.existing("joined-plain")[0]
        assert group.attribute("epsilons") == [0.1, 0.2, 0.3]
        assert group.attribute("headline_epsilon") == pytest.approx(0.2)


def test_an_unfinished_part_leaves_the_table_unfinished(tmp_path: Path) -> None:
    files = [written(tmp_path / "a.h5", [0]), written(tmp_path / "b.h5", [1], Part(finish=False))]
    assert not merge(files, tmp_path / "all.h5")[0].complete
    with ResultStore.read(tmp_path / "all.h5") as store:
        group = store.existing("joined")[0]
        assert not group.complete
        np.testing.assert_array_equal(group.indices, [0, 1])
        assert group.settings == json.loads('{"epsilon": 0.1}')


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Part(model=replace(MODEL, sha256="c" * 64)), "another model"),
        (Part(model=replace(MODEL, preprocessing='{"range": [0, 255]}')), "preprocessing"),
        (Part(settings=Settings(0.2)), "has no joined/j-"),
        (Part(shift=1e-16), "different values of distance for image 1"),
        (Part(radii=1), "different values of the axes or type of status for all rows"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: Part, said: str
) -> None:
    files = [written(tmp_path / "a.h5", [0, 1]), written(tmp_path / "b.h5", [1, 2], change)]
    with pytest.raises(StoreError, match=said):
        merge(files, tmp_path / "all.h5")
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["a.h5", "b.h5"]


def edited(path: Path, change: Callable[[h5py.Group], object]) -> Path:
    """The file after ``change`` of its table, sealed again as by a program that knows how."""
    with h5py.File(path, "r+") as file:
        (table,) = file["joined"].values()
        change(table)
        seal(table)
    return path


def with_other_settings(table: h5py.Group) -> None:
    table.attrs["settings"] = table.attrs["settings"].replace("0.1", "0.2")


def with_another_seed(table: h5py.Group) -> None:
    table.attrs["seed"] = 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_other_settings, "its settings are not those that its name stands for"),
        (with_another_seed, "its settings are not those that its name stands for"),
    ],
)
def test_tables_of_one_name_that_are_not_the_same_are_refused(
    tmp_path: Path, change: Callable[[h5py.Group], object], said: str
) -> None:
    files = [written(tmp_path / "a.h5", [0, 1]), edited(written(tmp_path / "b.h5", [2]), change)]
    with pytest.raises(StoreError, match=said):
        merge(files, tmp_path / "all.h5")
    assert not (tmp_path / "all.h5").exists()


def test_an_image_has_one_label(tmp_path: Path) -> None:
    files = [written(tmp_path / "a.h5", [0, 1]), written(tmp_path / "b.h5", [1, 2])]
    with h5py.File(files[1], "r+") as file:
        file["data/label"][0] = 5
        seal(file["data/label"])
    with pytest.raises(StoreError, match="different values of label for image 1 in data"):
        merge(files, tmp_path / "all.h5")


def test_no_file_is_replaced_unasked(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.h5", [0]), written(tmp_path / "b.h5", [1])
    with pytest.raises(StoreError, match="exists"):
        merge([a, b], written(tmp_path / "all.h5", [5]))
    merge([a, b], tmp_path / "all.h5", overwrite=True)
    with pytest.raises(StoreError, match="one of the files"):
        merge([a, b], a, overwrite=True)
    with pytest.raises(StoreError, match="two or more"):
        merge([a, a], tmp_path / "c.h5")
