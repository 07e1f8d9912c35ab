"""What contradicts the schema is refused on opening, in one line that names the place."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHECKSUM, seal
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.column import KNOWN
from robcert.certify.store.examination import examine
from robcert.certify.store.layout import unpack_indices
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx")
DATA = DataInfo("set", "b" * 64, 50)
SOME = np.arange(6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "r.h5"
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        store.add_images(SOME, SOME)
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        group.append(SOME, {column.name: SOME * 1.0 for column in CLEAN.columns})
        group.finish(SOME)
    return path


def attribute(place: str, name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file[place].attrs.__setitem__(name, value)


def no_attribute(place: str, name: str) -> Callable[[h5py.File], None]:
    return lambda file: file[place].attrs.__delitem__(name)


def array(place: str, content: object, **options: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if place in file:
            del file[place]
        file.create_dataset(place, data=content, **options)

    return change


def value(place: str, row: int, number: float) -> Callable[[h5py.File], None]:
    return lambda file: file[place].__setitem__(row, number)


def indices(text: object) -> Callable[[h5py.File], None]:
    return attribute("clean", "settings", json.dumps({"indices": text}))


def no_column_but_a_group(file: h5py.File) -> None:
    del file["clean/confidence"]
    file.create_group("clean/confidence")


def deep(file: h5py.File) -> None:
    file["clean"].create_dataset("record", data="[" * 200_000)


BOMB = base64.b64encode(zlib.compress(bytes(2**29), 9)).decode()
NULL = h5py.Empty("f8")

CHANGES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "no model": (lambda file: file.__delitem__("model"), "/model: is no group"),
    "a number as name": (attribute("model", "file", 3), "/model: file is not a text"),
    "no name": (no_attribute("data", "name"), "/data: lacks name"),
    "a null attribute": (attribute("model", "file", NULL), "/model: file is not a text"),
    "a list as version": (attribute("/", "format_version", [1, 2]), "/: format_version is not"),
    "a huge version": (attribute("clean", "schema_version", 1e300), "/clean: schema_version is"),
    "no settings": (no_attribute("clean", "settings"), "/clean: lacks settings"),
    "settings of text": (attribute("clean", "settings", "x"), "settings is not a JSON object"),
    "settings of a list": (attribute("clean", "settings", "[1]"), "settings is not a JSON object"),
    "deep JSON": (
        attribute("clean", "settings", "[" * 60_000),
        "/clean: the attribute settings of /clean holds JSON that cannot be read",
    ),
    "a number of many digits": (
        attribute("clean", "settings", f'{{"a":{"9" * 5000}}}'),
        "/clean: the attribute settings of /clean holds JSON that cannot be read",
    ),
    "a seed of text": (attribute("clean", "seed", "many"), "/clean: seed is not an integer"),
    "an array as attribute": (
        attribute("clean", "more", [1.0, 2.0]),
        "/clean: the attribute more is neither a number nor a text",
    ),
    "other rows": (attribute("clean", "axis", "sample"), "its rows are 'sample', not 'image'"),
    "no index": (lambda file: file.__delitem__("data/index"), "/data/index: is missing"),
    "a null index": (array("data/index", NULL), r"/data/index: has the shape None"),
    "a scalar index": (array("data/index", np.int64(3)), r"/data/index: has the shape \(\)"),
    "an index of floats": (array("data/index", np.arange(6.0)), "/data/index: is of type float64"),
    "an image twice": (value("data/index", 0, 3), "/data/index: names an image twice"),
    "a negative image": (value("data/index", 0, -7), "or a negative number"),
    "fewer labels": (array("data/label", np.zeros(5, "i4")), "/data/label: has 5 rows"),
    "a label below -1": (value("data/label", 2, -9), "/data/label: has a label below -1"),
    "no mask": (lambda file: file.__delitem__("clean/computed"), "/clean: lacks the column comp"),
    "a mask of twos": (value("clean/computed", 1, 2), "/clean/computed: has values other than"),
    "no column": (lambda file: file.__delitem__("clean/confidence"), "confidence: is missing"),
    "a group as column": (
        no_column_but_a_group,
        "/clean/confidence: is no array",
    ),
    "a null column": (array("clean/confidence", NULL), "confidence: has the shape None"),
    "a short column": (array("clean/confidence", np.zeros(5)), "confidence: has 5 rows, not 6"),
    "a wide column": (array("clean/confidence", np.zeros((6, 2))), "confidence: has the shape"),
    "a column of texts": (
        array("clean/confidence", ["a"] * 6),
        "/clean/confidence: is of type object, not float64",
    ),
    "a chunked column": (
        array("clean/confidence", np.zeros(6), chunks=(2,)),
        "/clean/confidence: is stored in another way",
    ),
    "an array of compounds": (
        array("clean/more", np.zeros(3, [("a", "f8"), ("b", "i4")])),
        "/clean/more: is of type",
    ),
    "an unknown kind": (attribute("clean/confidence", "kind", "sure"), "unknown kind of claim"),
    "no units": (no_attribute("clean/confidence", "units"), "confidence: lacks the text units"),
    "a number as doc": (attribute("data/index", "doc", 3), "/data/index: lacks the text doc"),
    "no names of axes": (
        no_attribute("clean/confidence", "DIMENSION_LABELS"),
        "/clean/confidence: its first axis is not called 'image'",
    ),
    "indices of others": (indices("0-9"), "/clean: settings name images that are not in the file"),
    "indices without end": (indices("0-99999999999999999"), "in a way that cannot be read"),
    "indices of no text": (indices([1, 2]), "in a way that cannot be read"),
    "a bomb of indices": (indices(f"mask:{BOMB}"[:59_000]), "in a way that cannot be read"),
    "a deep long attribute": (deep, "cannot be read"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_contradiction_is_named_by_its_place(name: str, path: Path) -> None:
    change, reason = CHANGES[name]
    with h5py.File(path, "r+") as file:
        change(file)
    for reader in (ResultStore.read, lambda p: ResultStore.open(p, model=MODEL, data=DATA)):
        with pytest.raises(StoreError, match=reason) as caught:
            reader(path)
        assert "r.h5 is damaged at /" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.hint.startswith("robcert doctor ")


def test_tables_of_other_versions_are_left_to_the_version_check(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["clean"].attrs["schema_version"] = 99
        seal(file["clean"])
        del file["clean/confidence"], file["clean"][CHECKSUM]
    with (
        ResultStore.read(path) as store,
        pytest.raises(StoreError, match="has version 99 of the schema"),
    ):
        store.existing("clean")


def test_columns_that_were_added_later_may_be_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "clean", replace(CLEAN, added=("confidence",)))
    with h5py.File(path, "r+") as file:
        del file["clean/confidence"], file["clean"][CHECKSUM]  # which that version did not have
    with ResultStore.read(path) as store:
        assert "confidence" not in store.existing("clean")[0]


def test_a_bomb_of_indices_is_not_unpacked() -> None:
    with pytest.raises(ValueError, match="eN"):
        unpack_indices(f"mask:{BOMB}")


@pytest.mark.parametrize("text", ["5-0:-1", "0-3:0", "x", "1-2-3", "mask:!", "9999999999"])
def test_a_text_that_no_list_of_indices_makes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack_indices(text)


def test_values_that_contradict_each_other_are_no_bug_in_a_file_from_elsewhere(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # as a copy from another machine
    reason = r"r.h5 cannot be evaluated: KeyError: 'endpoint'"
    with pytest.raises(StoreError, match=reason) as caught, ResultStore.read(path):
        raise KeyError("endpoint")
    assert "--debug" in caught.value.hint


def test_a_fault_of_robcert_stays_one_in_a_file_that_it_just_wrote(path: Path) -> None:
    with pytest.raises(KeyError), ResultStore.read(path):
        raise KeyError("endpoint")


def test_a_text_too_long_for_an_attribute_is_no_damage(tmp_path: Path) -> None:
    path, long = tmp_path / "r.h5", "x" * 70_000
    model = replace(MODEL, notes=(long,))
    with ResultStore.open(path, model=model, data=DATA) as store:
        store.add_images(SOME, SOME)
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        group.append(SOME, {column.name: SOME * 1.0 for column in CLEAN.columns})
        group.finish(SOME, failed={"7": long})
    assert examine(path, tmp_path / "saved.h5").whole
    for one in (path, tmp_path / "saved.h5"):
        with ResultStore.read(one) as store:
            assert store.model["notes"] == [long]
            assert store.existing("clean")[0].attribute("failed") == {"7": long}
