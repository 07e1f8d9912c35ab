"""One changed bit of a stored number is found on opening, named, and costs its row alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from robcert.certify.auditing.schema import CLEAN
from robcert.certify.core import Kind
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHECKSUM, row_checksums, seal
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.examination import examine
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MODEL = ModelInfo(file="unusual.onnx", sha256="m", kind="onnx")
DATA = DataInfo("d", "d", 99)


def row_values(indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {
        column.name: (indices * (number + 1) % 100).astype(column.dtype)
        for number, column in enumerate(CLEAN.columns)
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path, images = tmp_path / "r.h5", np.array([7, 3, 9, 50])
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        store.add_images(images, np.array([0, 1, 2, 0]))
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        for some in (images[1:2], images[2:], images[:1]):
            group.append(some, row_values(some))
        group.save_array("fits/maxima", np.arange(3.0), kind=Kind.ESTIMATED, doc="largest values")
        group.finish(images)
    return path


def damage(path: Path, place: str, row: int, bit: int = 0) -> None:
    """Change one bit of a stored number by other means than HDF5."""
    with h5py.File(path) as file:
        data = file[place]
        start = data.id.get_offset() + row * data.dtype.itemsize
    content = bytearray(path.read_bytes())
    content[start + bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def columns() -> list[tuple[str, int]]:
    widths = ((column.name, np.dtype(column.dtype).itemsize * 8) for column in CLEAN.columns)
    return [(name, bit) for name, bits in widths for bit in (0, bits - 1)]


@pytest.mark.parametrize(("column", "bit"), columns())
def test_a_changed_bit_of_a_row_is_named_and_loses_that_row(
    path: Path, tmp_path: Path, column: str, bit: int
) -> None:
    damage(path, f"clean/{column}", 2, bit)
    with pytest.raises(StoreError, match="at /clean: has other values for image 9 than were"):
        ResultStore.read(path)
    found = examine(path, tmp_path / "saved.h5")
    assert [(table.place, table.whole, table.finished) for table in found.tables] == [
        ("/clean", 3, 4)
    ]
    assert found.fault_of(found.tables[0]) == (
        "/clean has other values in 1 finished rows than were written"
    )
    with ResultStore.read(tmp_path / "saved.h5") as store:
        group = store.at("clean")
        assert group.missing(store.indices).tolist() == [9]
        assert not group.complete


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("data/index", "/data/index: has other values than were written"),
        ("data/label", "/data/label: has other values than were written"),
        ("clean/fits/maxima", "/clean/fits/maxima: has other values than were written"),
    ],
)
def test_a_changed_bit_of_an_array_is_named(path: Path, place: str, message: str) -> None:
    damage(path, place, 1)
    with pytest.raises(StoreError, match=message):
        ResultStore.read(path)
    found = examine(path)
    assert not found.whole
    assert place in found.header or f"/{place}" in [fault.place for fault in found.faults]


def test_a_changed_attribute_is_named(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b"unusual") == 1
    path.write_bytes(content.replace(b"unusual", b"unusuak"))
    with pytest.raises(StoreError, match="at /model: has other attributes than were written"):
        ResultStore.read(path)


@pytest.mark.parametrize(
    ("place", "name", "value", "message"),
    [
        ("model", "preprocessing", "x", "preprocessing is not a JSON object"),
        ("model", "parity", "[1]", "parity is not a JSON object"),
        ("model", "notes", "x", "notes is not a list"),
        ("data", "classes", "3", "classes is not a list"),
        ("data", "size", "x", "size is not an integer"),
    ],
)
def test_a_fact_of_another_type_is_named_under_a_right_checksum(
    path: Path, place: str, name: str, value: str, message: str
) -> None:
    with h5py.File(path, "r+") as file:
        file[place].attrs[name] = value
        seal(file[place])
    with pytest.raises(StoreError, match=f"is damaged at /{place}: {message}"):
        ResultStore.read(path)


def test_a_row_that_does_not_count_may_hold_anything(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["clean/computed"][1] = 0
    damage(path, "clean/confidence", 1)
    with ResultStore.read(path) as store:
        assert store.at("clean").missing(store.indices).tolist() == [3]


def test_a_table_without_checksums_is_read_and_continued(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["clean"][CHECKSUM]
        for place in ("clean", "model", "data", "data/index", "data/label"):
            del file[place].attrs[CHECKSUM]
    damage(path, "clean/confidence", 1)
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        new = np.array([8])
        store.add_images(new, np.array([1]))
        store.group(CLEAN, prefix="", settings=None, seed=0).append(new, row_values(new))
    with ResultStore.read(path) as store:
        assert CHECKSUM not in store.at("clean")
        assert store.at("clean").computed().all()


def test_rows_written_again_and_tables_made_longer_keep_right_checksums(path: Path) -> None:
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        more = np.array([80, 9])
        store.add_images(more, np.array([1, 1]))
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        group.append(more, row_values(more + 1))
    copy = path.with_name("copy.h5")  # which this process did not write
    copy.write_bytes(path.read_bytes())
    with ResultStore.read(copy) as store:
        assert store.at("clean").computed().all()


def test_rows_of_zeros_do_not_fit_a_checksum_of_zero() -> None:
    assert row_checksums({"a": np.zeros((3, 2)), "b": np.zeros(3, np.int8)}).all()


def test_values_that_change_places_change_the_checksum() -> None:
    one = {"a": np.array([[1.0, 2.0]]), "b": np.array([3.0])}
    others = [
        {"a": np.array([[2.0, 1.0]]), "b": np.array([3.0])},
        {"a": np.array([[3.0, 2.0]]), "b": np.array([1.0])},
        {"c": np.array([[1.0, 2.0]]), "b": np.array([3.0])},
        {"a": np.array([[-1.0, -2.0]]), "b": np.array([3.0])},
    ]
    sums = {int(row_checksums(columns)[0]) for columns in (one, *others)}
    assert len(sums) == 1 + len(others)
    swapped = {name: values.astype(values.dtype.newbyteorder()) for name, values in one.items()}
    assert row_checksums(swapped) == row_checksums(one)
